import type { Command } from "#cli/command";
import { duration, textTable } from "#cli/text-table";
import { timeOf } from "#cli/times";
import type { UsagePage } from "#client/usage";
import { PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX } from "#contract/limits";
import type { UsageRow } from "#contract/usage";

export const usage: Command = {
  path: ["usage"],
  summary: "Show what GPUs did: one row for each attempt that has ended",
  examples: ["pilotlight usage --since 1d --all", "pilotlight usage --endpoint text-to-image --json"],
  positionals: [],
  options: {
    endpoint: { type: "string" },
    since: { type: "string" },
    until: { type: "string" },
    all: { type: "boolean" },
    limit: { type: "string" },
    cursor: { type: "string" },
  },
  optionHelp: {
    endpoint: "of this endpoint alone",
    since: "of jobs submitted at or after: 1h, 2d … ago, or an ISO time",
    until: "of jobs submitted before",
    all: "every page, not the first alone",
    limit: `1 to ${PAGE_SIZE_MAX}, ${PAGE_SIZE_DEFAULT} when left out`,
    cursor: "next_cursor of the page before",
  },
  run: async (call) => {
    const now = Date.now();
    const [since, until] = [call.text("since"), call.text("until")];
    const query = {
      endpoint: call.text("endpoint"),
      since: since === undefined ? undefined : timeOf(since, "since", now),
      until: until === undefined ? undefined : timeOf(until, "until", now),
      limit: call.flag("all") ? PAGE_SIZE_MAX : call.integer("limit", 1, PAGE_SIZE_MAX),
    };
    const client = await call.connect();
    const { signal } = call.interrupts;
    const rows: UsageRow[] = [];
    let cursor: string | null | undefined = call.text("cursor");
    do {
      const page: UsagePage = await client.usage.page({ ...query, cursor: cursor ?? undefined }, { signal });
      for (const row of page.data) call.output.event({ event: "usage", data: row });
      rows.push(...page.data);
      cursor = page.next_cursor;
      call.output.progress(`${rows.length} attempts`, "reading");
    } while (cursor !== null && call.flag("all"));
    return {
      data: { data: rows, next_cursor: cursor },
      ids: rows.map(({ lease_id }) => lease_id),
      text: [
        ...table(rows),
        "",
        `${rows.length} attempts, ${duration(rows.reduce((sum, { ms }) => sum + ms, 0))} of GPU time`,
        ...(cursor === null ? [] : [`More: --cursor ${cursor}, or --all`]),
      ],
    };
  },
};

function table(rows: readonly UsageRow[]): string[] {
  return textTable(
    ["job", "attempt", "outcome", "started", "took", "node", "tags"],
    rows.map(({ job_id, attempt, outcome, started_at, ms, node_id, tags }) => [
      job_id,
      String(attempt),
      outcome,
      started_at,
      duration(ms),
      node_id,
      tags.join(" "),
    ]),
  );
}
