import { expect, it } from "vitest";
import type { Replica } from "#contract/replica";
import { runHere } from "#test/cli/command-line";
import { EXAMPLE_JOB_ID } from "#test/client/example-job";
import { type Answer, json, problem, scriptedServer } from "#test/client/scripted-server";

const tail = EXAMPLE_JOB_ID.slice("job_".length);
const id = `rep_${tail}` as Replica["id"];
const keyed = (url: string) => ["--url", url, "--token", "pl_key"];
const at = "2026-11-21T10:00:00.000Z";

function example(change: Partial<Replica> = {}): Replica {
  return {
    id,
    endpoint_id: `ep_${tail}` as Replica["endpoint_id"],
    node_id: `node_${tail}` as Replica["node_id"],
    pod_id: `pod_${tail}` as Replica["pod_id"],
    gpu_type: "rtx-4090",
    state: "preparing",
    release: 3,
    error: null,
    doing: "3.1 of 6.9 GB of model.safetensors, 82 MB/s",
    started_at: at,
    seconds: { cold: 42.5, idle: 0, busy: 0 },
    states: [{ state: "preparing", at }],
    phases: [{ phase: "nodes", ms: 12_300 }],
    ...change,
  };
}

it("lists replicas with what they are at, and shows one", async () => {
  const server = await scriptedServer(
    json(200, { data: [example()] }),
    json(200, example({ error: "no CUDA\nat boot" })),
  );
  const listed = await runHere(["replicas", "ls", "fox", "--state", "all", ...keyed(server.url)], { isTerminal: true });
  expect(listed.stdout).toMatch(/preparing +rtx-4090 .* 42\.5 s +0 ms +0 ms +3\.1 of 6\.9 GB of model\.safetensors/);
  const shown = await runHere(["replicas", "show", "fox", id, ...keyed(server.url)], { isTerminal: true });
  for (const part of ["cold 42.5 s", "nodes 12.3 s", "no CUDA", `${at}  preparing`])
    expect(shown.stdout).toContain(part);
  expect(server.seen.map(({ url }) => url)).toEqual([
    "/v1/endpoints/fox/replicas?state=all",
    `/v1/endpoints/fox/replicas/${id}`,
  ]);
});

it("prints a log, and follows it until the replica has started", async () => {
  const line = (number: number) => ({ number, at, line: `line ${number}` });
  const event = (number: number) => `id: ${number + 1}\nevent: line\ndata: ${JSON.stringify(line(number))}\n\n`;
  const stream =
    (text: string): Answer =>
    (_, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.end(text);
    };
  const server = await scriptedServer(
    json(200, { data: [line(0)], next: 1 }),
    // The connection breaks off; the next one goes on where it was.
    stream(event(0)),
    stream(`${event(1)}event: end\ndata: {"state":"ready"}\n\n`),
    json(200, example({ state: "ready" })),
  );
  const once = await runHere(["replicas", "logs", "fox", id, ...keyed(server.url)], { isTerminal: true });
  expect(once.stdout).toBe(`${at}  line 0\n`);
  const followed = await runHere(["replicas", "logs", "fox", id, "--follow", ...keyed(server.url)], {
    isTerminal: true,
  });
  expect(followed.stdout).toBe(`${at}  line 0\n${at}  line 1\n${id} is ready.\n`);
  expect(server.seen.slice(1).map(({ headers }) => [headers.accept, headers["last-event-id"]])).toEqual([
    ["text/event-stream", undefined],
    ["text/event-stream", "1"],
    [expect.anything(), undefined],
  ]);
});

it("stops and replaces a replica, and says what comes of it", async () => {
  const ended = problem(409, "replica_ended", false);
  const server = await scriptedServer(
    json(200, example({ state: "draining" })),
    json(200, example({ state: "busy" })),
    ended,
  );
  const stopped = await runHere(["replicas", "stop", "fox", id, ...keyed(server.url)], { isTerminal: true });
  expect(stopped.stdout).toContain("stops after the job in hand");
  const replaced = await runHere(["replicas", "replace", "fox", id, ...keyed(server.url)], { isTerminal: true });
  expect(replaced.stdout).toContain("works until another one is ready");
  const late = await runHere(["replicas", "replace", "fox", id, ...keyed(server.url), "--json"]);
  expect(JSON.parse(late.stdout)).toMatchObject({ ok: false, error: { code: "replica_ended" } });
  expect(server.seen.map(({ method, url }) => `${method} ${url?.split("/").at(-1)}`)).toEqual([
    "POST stop",
    "POST replace",
    "POST replace",
  ]);
});

it("shows what time went to, by day", async () => {
  const day = {
    day: "2026-11-21",
    pod_id: example().pod_id,
    gpu_type: "rtx-4090",
    seconds: { cold: 18, idle: 61.5, busy: 3_600 },
    card_seconds: 3_679.5,
    started: 2,
    crashed: 1,
    price_per_hour: 0.08,
    cost: 0.081767,
  };
  const unpriced = { ...day, gpu_type: null, price_per_hour: null, cost: null };
  const server = await scriptedServer(json(200, { data: [day, unpriced] }));
  const shown = await runHere(["replicas", "seconds", "fox", "--from", "2026-11-01", ...keyed(server.url)], {
    isTerminal: true,
  });
  expect(shown.stdout).toMatch(/2026-11-21 +pod_\S+ +rtx-4090 +18\.0 s +1 min 2 s +60 min 0 s +2 +1 +\$0\.0818/);
  expect(server.seen[0]?.url).toBe("/v1/endpoints/fox/replica-seconds?from=2026-11-01");
});

it("refuses what cannot be meant before it asks anybody", async () => {
  const server = await scriptedServer();
  for (const words of [
    ["replicas", "show", "fox", "first"],
    ["replicas", "ls", "fox", "--state", "gone"],
    ["replicas", "seconds", "fox", "--to", "yesterday"],
  ]) {
    const { code, stdout } = await runHere([...words, ...keyed(server.url), "--json"]);
    expect([code, JSON.parse(stdout).error.code]).toEqual([2, "usage"]);
  }
  expect(server.seen).toEqual([]);
});
