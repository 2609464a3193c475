import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checkPng } from "#cli/png-check";
import { envelopeOf, exampleWorkflow, System, startCli } from "#test/journey/system";
import { until } from "#test/until";

let system: System;
let folder: string;

beforeAll(async () => {
  system = await System.start();
  folder = await mkdtemp(join(tmpdir(), "pilotlight-out-"));
});
afterAll(async () => {
  await system?.stop();
  await rm(folder, { recursive: true, force: true });
});

describe("a new user", () => {
  it("deploys a workflow, calls it and has the picture on disk", async () => {
    const deployed = await system.run("deploy", join(import.meta.dirname, "../../examples/model-free.json"));
    expect(deployed.code, deployed.stderr).toBe(0);
    expect(envelopeOf(deployed).data).toMatchObject({ created: true, endpoint: { slug: "model-free" } });

    const ran = await system.run("run", "model-free", "-i", "width=320", "-i", "height=200", "-o", folder);
    expect(ran.code, ran.stderr).toBe(0);
    const { job, saved } = envelopeOf(ran).data as {
      job: { id: string; timeline: { phase: string; ms: number }[] };
      saved: { path: string; sha256: string }[];
    };
    expect(saved).toHaveLength(1);
    const [file] = saved;
    const bytes = await readFile(file?.path ?? "");
    expect(checkPng(bytes).width).toBeGreaterThanOrEqual(320);
    expect(createHash("sha256").update(bytes).digest("hex")).toBe(file?.sha256);
    expect(job.timeline.map(({ phase }) => phase)).toEqual(expect.arrayContaining(["executing", "uploading"]));

    const shown = await system.run("jobs", "get", job.id);
    expect(envelopeOf(shown).data).toMatchObject({ job: { id: job.id, state: "succeeded" } });
    const listed = await system.run("jobs", "ls", "--endpoint", "model-free", "--output", "id");
    expect(listed.stdout.trim()).toBe(job.id);
  });

  it("gets no new release for the same workflow, one for another, and later runs use it", async () => {
    const same = await system.run("deploy", join(import.meta.dirname, "../../examples/model-free.json"));
    expect(envelopeOf(same).data).toMatchObject({ created: false, endpoint: { release: { number: 1 } } });
    const other = join(folder, "other.json");
    await writeFile(other, (await exampleWorkflow("model-free")).replace("16752640", "255"));
    const changed = await system.run("deploy", other, "--slug", "model-free");
    expect(envelopeOf(changed).data).toMatchObject({ created: false, endpoint: { release: { number: 2 } } });
    const ran = await system.run("run", "model-free");
    expect(envelopeOf(ran).data).toMatchObject({ job: { release: 2, state: "succeeded" } });
  });

  it("sees the stand-in's node, a healthy doctor and the queue", async () => {
    const nodes = envelopeOf(await system.run("node", "ls")).data as { data: { online: boolean; comfyui: string }[] };
    expect(nodes.data).toMatchObject([{ online: true, comfyui: expect.stringContaining("stand-in") }]);
    const doctor = await system.run("doctor");
    expect(doctor.code, doctor.stdout).toBe(0);
    const queue = envelopeOf(await system.run("queue", "stats", "model-free")).data;
    expect(queue).toMatchObject({ running: 0, queued: { interactive: 0, batch: 0 } });
  });

  it("is told by a distinct exit code what went wrong", async () => {
    const codes = async (...args: string[]) => (await system.run(...args)).code;
    expect(await codes("run", "no-such-endpoint")).toBe(5);
    expect(await codes("run", "model-free", "-i", "widht=3")).toBe(2);
    expect(await codes("jobs", "get", "job_0dpx4n3m8k7q2wz6tgr1vyc5ha")).toBe(5);
    expect(await codes("jobs", "ls", "--token", "pl_wrong")).toBe(4);
    expect(await codes("jobs", "ls", "--url", "http://127.0.0.1:1", "--token", "x", "--timeout", "1")).toBe(2);
    const refused = await system.run("run", "model-free", "-i", "width=99999999");
    expect(refused.code).toBe(1);
    expect(envelopeOf(refused).error).toMatchObject({
      code: "invalid_inputs",
      errors: [{ path: "/inputs/width" }],
      request_id: expect.stringMatching(/^req_/),
    });
  });
});

describe("Ctrl-C while a job runs", () => {
  /** Starts a call that stays at its first node, and presses Ctrl-C so often. */
  const BETWEEN_PRESSES_MS = 500;
  const interrupted = async (color: number, presses: number) => {
    await system.client.jobs.submit("model-free", { inputs: { color } }, { waitS: 60 });
    const { url } = await system.standIn();
    const setFaults = (ms: number) =>
      fetch(`${url}/stand-in/faults`, { method: "POST", body: JSON.stringify({ slow_node_ms: ms }) });
    await setFaults(4_000);
    const command = startCli(["run", "model-free", "-i", `color=${color + 1}`, "--json-stream"], {
      PILOTLIGHT_STATE_DIR: system.state,
    });
    const job = await until("the job is submitted", () => /"job":"(job_[0-9a-z]{26})"/.exec(command.stdout())?.[1]);
    await until("the job runs", async () =>
      (await system.client.jobs.get(job)).phase === "executing" ? true : undefined,
    );
    command.process.kill("SIGINT");
    await until("it says that the job goes on", () => (command.stderr().includes(`${job} goes on`) ? true : undefined));
    if (presses === 2) {
      // Two signals at once are one press that came on two ways; a person's second press comes later.
      let pressedAt = performance.now();
      await until("it cancels", () => {
        if (command.stderr().includes(`canceling ${job}`)) return true;
        if (performance.now() - pressedAt < BETWEEN_PRESSES_MS) return undefined;
        pressedAt = performance.now();
        command.process.kill("SIGINT");
        return undefined;
      });
    }
    const code = await command.ended;
    await setFaults(0);
    return { code, job };
  };

  it("leaves the job alone", async () => {
    const { code, job } = await interrupted(1_000, 1);
    expect(code).toBe(130);
    expect((await system.client.jobs.wait(job)).state).toBe("succeeded");
  });

  it("cancels it when pressed twice", async () => {
    const { code, job } = await interrupted(2_000, 2);
    expect(code).toBe(130);
    expect((await system.client.jobs.get(job)).state).toBe("canceled");
  });
});

describe("a caller of the HTTP API", () => {
  it("gets the finished job in one call, and the picture by its signed link alone", async () => {
    const job = await system.client.jobs.submit("model-free", { inputs: { width: 64, height: 64 } }, { waitS: 60 });
    expect(job.state).toBe("succeeded");
    const [output] = job.outputs;
    const response = await fetch(output?.url ?? "");
    expect(response.status).toBe(200);
    const bytes = Buffer.from(await response.arrayBuffer());
    expect(bytes).toHaveLength(output?.size ?? -1);
    expect(createHash("sha256").update(bytes).digest("hex")).toBe(output?.sha256);
    const altered = await fetch(
      (output?.url ?? "").replace(/signature=./, (found) => (found.endsWith("A") ? "signature=B" : "signature=A")),
    );
    expect(altered.status).toBe(403);
    const range = await fetch(output?.url ?? "", { headers: { range: "bytes=1-3" } });
    expect(range.status).toBe(206);
    expect(Buffer.from(await range.arrayBuffer()).toString()).toBe("PNG");
  });

  it("gets the picture itself in one call, and the job when it has to wait longer", async () => {
    const inputs = { width: 72, height: 64 };
    const answer = await system.client.jobs.submitForOutput("model-free", { inputs }, "image/png");
    if (answer.type !== "output") throw new Error(`the answer was the job: ${answer.job.state}`);
    const bytes = Buffer.from(await answer.response.arrayBuffer());
    expect(checkPng(bytes).width).toBeGreaterThanOrEqual(72);
    const [output] = (await system.client.jobs.get(answer.jobId)).outputs;
    expect(createHash("sha256").update(bytes).digest("hex")).toBe(output?.sha256);
    expect(answer.response.headers.get("content-length")).toBe(String(output?.size));
    expect(answer.response.headers.get("etag")).toBe(`"${output?.sha256}"`);
    const at = new URL(answer.response.headers.get("content-location") ?? "", system.url);
    const again = await fetch(at, { headers: { authorization: `Bearer ${system.token}` } });
    expect(Buffer.from(await again.arrayBuffer()).equals(bytes)).toBe(true);

    const video = await system.client.jobs.submitForOutput("model-free", { inputs }, "video/*");
    expect(video).toMatchObject({ type: "job", job: { state: "succeeded" } });
    const { url } = await system.standIn();
    const setFaults = (ms: number) =>
      fetch(`${url}/stand-in/faults`, { method: "POST", body: JSON.stringify({ slow_node_ms: ms }) });
    await setFaults(60_000);
    const slow = { inputs: { width: 88 } };
    const late = await system.client.jobs.submitForOutput("model-free", slow, "image/png", { waitS: 0 });
    if (late.type !== "job") throw new Error("nothing can be ready yet");
    expect(["queued", "running"]).toContain(late.job.state);
    await system.client.jobs.cancel(late.job.id);
    await setFaults(0);
  });

  it("sends one Idempotency-Key twice and gets one job", async () => {
    const submit = () => system.client.jobs.submit("model-free", { inputs: {} }, { idempotencyKey: "journey-1" });
    const [one, other] = await Promise.all([submit(), submit()]);
    expect(other.id).toBe(one.id);
    await system.client.jobs.wait(one.id);
  });

  it("watches every number once, from the first event to the last", async () => {
    const job = await system.client.jobs.submit("model-free", { inputs: { width: 48 } });
    const seen: [number, string][] = [];
    for await (const { seq, type } of system.client.jobs.events(job.id)) if (seq !== null) seen.push([seq, type]);
    expect(seen.map(([seq]) => seq)).toEqual(seen.map((_, index) => index + 1));
    expect(seen[0]?.[1]).toBe("queued");
    expect(seen.at(-1)?.[1]).toBe("succeeded");
    const [from] = seen.slice(-2);
    const rest: number[] = [];
    for await (const { seq } of system.client.jobs.events(job.id, { afterSeq: from?.[0] ?? 0 })) rest.push(seq ?? -1);
    expect(rest).toEqual([seen.at(-1)?.[0]]);
  });

  it("cancels a running job and only that one", async () => {
    const { url } = await system.standIn();
    const setFaults = (faults: unknown) =>
      fetch(`${url}/stand-in/faults`, { method: "POST", body: JSON.stringify(faults) });
    expect((await setFaults({ slow_node_ms: 60_000 })).ok).toBe(true);
    const [running, waiting] = await Promise.all([
      system.client.jobs.submit("model-free", { inputs: { width: 80 } }),
      system.client.jobs.submit("model-free", { inputs: { width: 96 } }),
    ]);
    const first = await until("one of them runs", async () => {
      const jobs = await Promise.all([running, waiting].map(({ id }) => system.client.jobs.get(id)));
      return jobs.find(({ phase }) => phase === "executing");
    });
    expect((await system.client.jobs.cancel(first.id)).state).toBe("canceled");
    await setFaults({ slow_node_ms: 0 });
    const other = first.id === running.id ? waiting : running;
    expect((await system.client.jobs.wait(other.id)).state).toBe("succeeded");
    expect((await system.client.jobs.get(first.id)).state).toBe("canceled");
    // A cancel that comes too late says so.
    expect((await system.client.jobs.cancel(other.id)).state).toBe("succeeded");
  });

  it("is refused with another workspace's or no key, and told nothing", async () => {
    const workflow = await exampleWorkflow("model-free");
    const key = await system.client.keys.create({ name: "reader", scopes: ["read"] });
    const post = (token: string | undefined) =>
      fetch(`${system.url}/v1/endpoints`, {
        method: "POST",
        headers: {
          "content-type": "application/json",
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        },
        body: JSON.stringify({ slug: "x", workflow }),
      });
    expect((await post(undefined)).status).toBe(401);
    expect((await post(key.key)).status).toBe(403);
  });
});
