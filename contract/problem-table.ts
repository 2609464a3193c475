/** docs/problems.md, read from the table of problems. Pure. */
import { problems } from "#contract/problems";

/** The page in Markdown; each row has the code as its anchor's name. */
export function problemTable(): string {
  const rows = Object.entries(problems).map(
    ([code, { status, title, retryable }]) =>
      `| <a id="${code}"></a>\`${code}\` | ${status} | ${title} | ${retryable ? "yes" : "no"} |`,
  );
  return [
    "# Problems",
    "",
    "Every error is sent as `application/problem+json` (RFC 9457) with `type`, `title`, `status`, `code`, `detail`,",
    "`request_id` and `retryable`. Codes are stable: new ones are added, none is renamed. Where it makes sense to wait, the",
    "answer has `Retry-After`. A job that ran and failed is no HTTP error: its `state` and `error.code` say what happened.",
    "",
    "| code | status | meaning | the same request may succeed later |",
    "|---|---|---|---|",
    ...rows,
    "",
  ].join("\n");
}
