import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type JsonObject, parseExactJson } from "#contract/exact-json";
import type { JobProgress } from "#contract/job";
import { ComfyUnreachable } from "#gpu-agent/comfy/comfy-http";
import type { ComfyServer } from "#gpu-agent/comfy/comfy-server";
import { type ComfySession, closeSession, openSession } from "#gpu-agent/comfy/comfy-session";
import { ComfySocket } from "#gpu-agent/comfy/comfy-socket";
import { type DriveOptions, drivePrompt, PromptStuck } from "#gpu-agent/comfy/drive-prompt";
import { ComfyDiedFirst, JobFailure } from "#gpu-agent/comfy/job-failure";
import type { Preview } from "#gpu-agent/control/lease-keeper";
import { FakeComfy } from "#test/gpu-agent/fake-comfy";
import { comesTrue, keptLog, quickTimings } from "#test/gpu-agent/quick-timings";

const graph = parseExactJson(
  '{"1": {"class_type": "KSampler", "inputs": {"seed": 18446744073709551615}}, "2": {"class_type": "SaveImage", "inputs": {}}}',
) as JsonObject;

let comfy: FakeComfy;
let session: ComfySession;
let died: AbortController;
let isBusy: boolean | null;

beforeEach(async () => {
  comfy = await FakeComfy.start();
  died = new AbortController();
  isBusy = null;
});

afterEach(async () => {
  await closeSession(session);
  await comfy.stop();
});

async function open(folders: ComfyServer["folders"] = null, timings = quickTimings()): Promise<void> {
  const server: ComfyServer = {
    url: comfy.url,
    folders,
    died: died.signal,
    isBusy: () => Promise.resolve(isBusy),
    stop: () => Promise.resolve(),
  };
  session = await openSession(server, timings, keptLog().log, new AbortController().signal);
}

function drive(more: Partial<DriveOptions> = {}) {
  const progress: JobProgress[] = [];
  const previews: Preview[] = [];
  const result = drivePrompt({
    session,
    graph,
    timings: quickTimings(),
    timeoutMs: 60_000,
    signal: new AbortController().signal,
    log: keptLog().log,
    redacted: (text) => text,
    onStart: () => undefined,
    onProgress: (each) => void progress.push(each),
    onPreview: (each) => void previews.push(each),
    ...more,
  });
  // Looked at later; until then it must not count as unhandled.
  result.catch(() => undefined);
  return { result, progress, previews };
}

async function failureOf(promise: Promise<unknown>): Promise<JobFailure> {
  const error = await promise.then(
    () => new Error("it succeeded"),
    (reason: unknown) => reason,
  );
  if (!(error instanceof JobFailure)) throw error;
  return error;
}

const submitted = () => comesTrue("submitted", () => comfy.prompts.length > 0);
const promptId = () => comfy.prompts[0]?.id ?? "";

describe("submitting", () => {
  it("opens the socket first and names it and a prompt id of its own", async () => {
    await open();
    comfy.onPrompt = () => {
      expect(comfy.sockets).toHaveLength(1);
      return false;
    };
    const { result } = drive();
    await submitted();
    expect(comfy.prompts[0]?.clientId).toBe(comfy.sockets[0]?.clientId);
    expect(promptId()).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(comfy.prompts[0]?.body.extra_data).toEqual({});
    comfy.finish(promptId(), { "2": { images: [] } });
    expect((await result).outputs).toEqual({ "2": { images: [] } });
  });

  it("sends whole numbers beyond 2^53 exactly", async () => {
    await open();
    let raw = "";
    const { http } = session;
    const submit = http.submit.bind(http);
    http.submit = async (body, signal) => {
      raw = String((body.prompt as { "1": { inputs: { seed: bigint } } })["1"].inputs.seed);
      return submit(body, signal);
    };
    const { result } = drive();
    await submitted();
    comfy.finish(promptId());
    await result;
    expect(raw).toBe("18446744073709551615");
  });

  it("does not submit twice when the answer is lost after ComfyUI took the prompt", async () => {
    await open();
    comfy.onPrompt = (prompt, response) => {
      comfy.running.push(prompt.id);
      response.destroy();
      return true;
    };
    const { result } = drive();
    await submitted();
    comfy.finish(promptId());
    await result;
    expect(comfy.prompts).toHaveLength(1);
  });

  it("does not submit twice when the prompt had ended before the answer was lost", async () => {
    await open();
    comfy.onPrompt = (prompt, response) => {
      comfy.finish(prompt.id);
      response.destroy();
      return true;
    };
    await drive().result;
    expect(comfy.prompts).toHaveLength(1);
  });

  it("submits again, under the same id, when the request never arrived", async () => {
    await open();
    let lost = 0;
    comfy.onPrompt = (_, response) => {
      lost += 1;
      if (lost > 1) return false;
      response.destroy();
      return true;
    };
    const { result } = drive();
    await comesTrue("what the test waits for", () => comfy.prompts.length === 2);
    comfy.finish(promptId());
    await result;
    expect(comfy.prompts[1]?.id).toBe(comfy.prompts[0]?.id);
  });

  it("fails on node errors that come with a 200, and cancels what would have run", async () => {
    await open();
    comfy.onPrompt = (prompt, response) => {
      comfy.pending.push(prompt.id);
      const fault = { type: "value_not_in_list", message: "Value not in list", details: "", extra_info: {} };
      const errors = { "2": { errors: [fault], dependent_outputs: ["2"], class_type: "SaveImage" } };
      response.end(JSON.stringify({ prompt_id: prompt.id, number: 1, node_errors: errors }));
      return true;
    };
    const failure = await failureOf(drive().result);
    expect(failure.jobError).toMatchObject({ code: "invalid_workflow", node_id: "2", class_type: "SaveImage" });
    expect(comfy.pending).toEqual([]);
  });

  it("says that the build lacks a class, a model, or that the graph is wrong", async () => {
    await open();
    comfy.onPrompt = (_, response) => {
      const extra = { node_id: "1", class_type: "Nope", node_title: "Nope" };
      const error = { type: "missing_node_type", message: "", details: "", extra_info: extra };
      response.writeHead(400).end(JSON.stringify({ error, node_errors: {} }));
      return true;
    };
    const failure = await failureOf(drive().result);
    expect(failure.jobError).toMatchObject({ code: "missing_node", node_id: "1", class_type: "Nope" });
  });
});

describe("a ComfyUI that dies before the prompt is there", () => {
  const last = new Error("the process ended with signal SIGKILL");

  it("is not waited for while its socket opens", async () => {
    comfy.greets = false;
    await open(null, quickTimings({ socketOpenMs: 100 }));
    const patient = new ComfySocket(session.http, quickTimings({ socketOpenMs: 30_000 }), keptLog().log);
    const began = performance.now();
    const { result } = drive({ session: { ...session, socket: patient } });
    died.abort(last);
    expect(await failureOf(result)).toBeInstanceOf(ComfyDiedFirst);
    expect(performance.now() - began).toBeLessThan(10_000);
    expect(comfy.prompts).toEqual([]);
    await patient.close();
  });

  it("has done nothing of it, where nobody listened any more", async () => {
    await open();
    await comfy.stop();
    let isRefused = false;
    for (let tries = 0; tries < 20 && !isRefused; tries += 1) {
      // A connection that was kept may break first.
      const failed = await session.http.systemStats().catch((error: unknown) => error);
      isRefused = failed instanceof ComfyUnreachable && !failed.mayHaveArrived;
    }
    const lines = keptLog();
    const { result } = drive({ log: lines.log, session: { ...session, socket: deadSocket() } });
    await comesTrue("it was tried", () => lines.lines.some(({ event }) => event === "comfy_submit_unanswered"));
    died.abort(last);
    expect(await failureOf(result)).toBeInstanceOf(ComfyDiedFirst);
  });

  it("may have done some of it, where it took the request and never answered", async () => {
    await open();
    comfy.onPrompt = (_, response) => {
      response.destroy();
      died.abort(last);
      return true;
    };
    const failure = await failureOf(drive().result);
    expect(failure.jobError.code).toBe("replica_failed");
    expect(failure).not.toBeInstanceOf(ComfyDiedFirst);
  });

  /** One that never hears anything, and is not waited for. */
  function deadSocket(): ComfySocket {
    const socket = new ComfySocket(session.http, quickTimings(), keptLog().log);
    socket.ready = () => Promise.resolve();
    return socket;
  }
});

describe("following", () => {
  it("believes the history when the socket never says a word", async () => {
    await open();
    const { result } = drive();
    await submitted();
    const status = { status_str: "success", messages: [] };
    comfy.history.set(promptId(), JSON.stringify({ outputs: { "2": { text: ["a"] } }, status }));
    expect((await result).outputs).toEqual({ "2": { text: ["a"] } });
  });

  it("works on when no socket can be opened at all", async () => {
    await open(null, quickTimings({ socketOpenMs: 300 }));
    comfy.greets = false;
    for (const socket of comfy.sockets) socket.connection.destroy();
    await comesTrue("what the test waits for", () => comfy.sockets.every((socket) => socket.closed));
    const { result } = drive();
    await submitted();
    comfy.finish(promptId());
    await result;
    comfy.greets = true;
  });

  it("reopens a silent socket, only after the old one has closed, under the same client id", async () => {
    await open();
    const { result } = drive({ timings: quickTimings({ socketSilentMs: 300 }) });
    await comesTrue("what the test waits for", () => comfy.sockets.length === 2);
    expect(comfy.sockets[0]?.closed).toBe(true);
    expect(comfy.sockets[1]?.clientId).toBe(comfy.sockets[0]?.clientId);
    comfy.finish(promptId());
    await result;
  });

  it("reads bare NaN in the history", async () => {
    await open();
    const { result } = drive();
    await submitted();
    comfy.history.set(
      promptId(),
      '{"outputs": {"2": {"text": ["a"], "x": [NaN]}}, "status": {"status_str": "success"}}',
    );
    expect((await result).outputs["2"]).toMatchObject({ text: ["a"] });
  });

  it("tells progress and previews of its own prompt, and of no other", async () => {
    await open();
    const { result, progress, previews } = drive();
    await submitted();
    const id = promptId();
    comfy.send("execution_start", { prompt_id: id });
    comfy.send("progress_state", { prompt_id: "another", nodes: { "1": { value: 9, max: 10, state: "running" } } });
    comfy.send("executing", { node: "1" });
    comfy.send("progress", { value: 5, max: 10, prompt_id: id, node: "1" });
    const image = Buffer.from([0, 0, 0, 1, 0, 0, 0, 1, 0xff, 0xd8]);
    comfy.sendBinary(image);
    await comesTrue("what the test waits for", () => previews.length === 1 && progress.length > 0);
    expect(previews).toEqual([{ content_type: "image/jpeg", data: Buffer.from([0xff, 0xd8]).toString("base64") }]);
    expect(progress).toEqual([
      { fraction: 0.4545, node_id: "1", class_type: "KSampler", step: 5, steps: 10, nodes_done: 0, nodes_total: 2 },
    ]);
    comfy.finish(id);
    await result;
  });

  it("fails with the node's error, and asks for a restart when CUDA is poisoned", async () => {
    await open();
    const first = drive();
    await submitted();
    comfy.fail(promptId(), "execution_error", { node_id: "1", node_type: "KSampler", exception_message: "boom" });
    const failure = await failureOf(first.result);
    expect(failure.jobError).toEqual({
      code: "execution_error",
      message: "Node 1 (KSampler): boom",
      node_id: "1",
      class_type: "KSampler",
    });
    expect(failure.comfy).toBe("healthy");

    comfy.prompts.length = 0;
    const second = drive();
    await submitted();
    const message = "CUDA error: an illegal memory access was encountered";
    comfy.fail(promptId(), "execution_error", { node_id: "1", node_type: "KSampler", exception_message: message });
    const poisoned = await failureOf(second.result);
    expect(poisoned.jobError.code).toBe("replica_failed");
    expect(poisoned.comfy).toBe("restart");
  });

  it("calls an interrupt that it did not ask for a failure of the replica", async () => {
    await open();
    const { result } = drive();
    await submitted();
    comfy.fail(promptId(), "execution_interrupted", {});
    expect((await failureOf(result)).jobError.code).toBe("replica_failed");
  });

  it("notices that ComfyUI forgot the prompt", async () => {
    await open();
    const { result } = drive();
    await submitted();
    comfy.running = [];
    expect((await failureOf(result)).jobError.code).toBe("replica_failed");
  });

  it("survives a restart of an attached ComfyUI, whose queue and history are gone then", async () => {
    await open();
    const { result } = drive();
    await submitted();
    await comfy.stop();
    comfy.running = [];
    await comfy.listen();
    expect((await failureOf(result)).jobError.code).toBe("replica_failed");
  });

  it("survives a ComfyUI that is out of reach for a while and comes back with the job done", async () => {
    await open();
    const { result } = drive({ timings: quickTimings({ unreachableMs: 30_000 }) });
    await submitted();
    await comfy.stop();
    const status = { status_str: "success", messages: [] };
    comfy.history.set(promptId(), JSON.stringify({ outputs: {}, status }));
    await comfy.listen();
    await result;
  });

  it("gives up a ComfyUI that stays out of reach", async () => {
    await open();
    const { result } = drive({ timings: quickTimings({ unreachableMs: 300 }) });
    await submitted();
    await comfy.stop();
    const failure = await failureOf(result);
    expect(failure.jobError.code).toBe("replica_failed");
    expect(failure.comfy).toBe("restart");
  });

  it("fails at once when the process ends", async () => {
    await open();
    const { result } = drive();
    await submitted();
    died.abort(new Error("the process ended with exit code 137"));
    const failure = await failureOf(result);
    expect(failure.jobError).toMatchObject({ code: "replica_failed", message: expect.stringContaining("137") });
    expect(failure).not.toBeInstanceOf(ComfyDiedFirst);
  });
});

describe("a prompt in which nothing moves", () => {
  const timings = quickTimings({ hangMs: 700, socketSilentMs: 200, interruptMs: 300 });

  it("is interrupted, and ComfyUI restarted", async () => {
    await open();
    const { result } = drive({ timings });
    const failure = await failureOf(result);
    expect(failure.jobError.code).toBe("replica_failed");
    expect(failure.comfy).toBe("restart");
    expect(comfy.requests.some((request) => request.startsWith("POST /interrupt"))).toBe(true);
  });

  it("is left alone while the process computes", async () => {
    isBusy = true;
    await open();
    const { result } = drive({ timings });
    await comesTrue("what the test waits for", () => comfy.sockets.length >= 3);
    comfy.finish(promptId());
    await result;
  });

  it("that ComfyUI of our own never even starts counts the same", async () => {
    await open({ input: "/nowhere", output: "/nowhere", temp: "/nowhere" });
    comfy.onPrompt = (prompt, response) => {
      comfy.pending.push(prompt.id);
      response.end(JSON.stringify({ prompt_id: prompt.id, number: 1, node_errors: {} }));
      return true;
    };
    expect((await failureOf(drive({ timings }).result)).comfy).toBe("restart");
  });
});

describe("stopping", () => {
  it("interrupts exactly its own running prompt", async () => {
    await open();
    const stop = new AbortController();
    const { result } = drive({ signal: stop.signal });
    await submitted();
    comfy.running.push("somebody else's");
    stop.abort(new Error("canceled"));
    await expect(result).rejects.toThrow("canceled");
    expect(comfy.running).toEqual(["somebody else's"]);
    expect(comfy.requests).toContain(`POST /interrupt {"prompt_id":"${promptId()}"}`);
  });

  it("takes its own waiting prompt out of the queue", async () => {
    await open();
    comfy.onPrompt = (prompt, response) => {
      comfy.pending.push(prompt.id);
      response.end(JSON.stringify({ prompt_id: prompt.id, number: 1, node_errors: {} }));
      return true;
    };
    const stop = new AbortController();
    const { result } = drive({ signal: stop.signal });
    await submitted();
    stop.abort(new Error("canceled"));
    await expect(result).rejects.toThrow("canceled");
    expect(comfy.requests).toContain(`POST /queue {"delete":["${promptId()}"]}`);
    expect(comfy.requests.some((request) => request.startsWith("POST /interrupt"))).toBe(false);
  });

  it("uses the atomic cancel where there is one", async () => {
    comfy.jobsApi = true;
    await open();
    const stop = new AbortController();
    const { result } = drive({ signal: stop.signal });
    await submitted();
    stop.abort(new Error("canceled"));
    await expect(result).rejects.toThrow("canceled");
    expect(comfy.requests).toContain(`POST /api/jobs/${promptId()}/cancel {}`);
  });

  it("says so when the prompt cannot be stopped", async () => {
    await open();
    comfy.onStop = () => undefined;
    const stop = new AbortController();
    const { result } = drive({ signal: stop.signal, timings: quickTimings({ interruptMs: 300 }) });
    await submitted();
    stop.abort(new Error("canceled"));
    await expect(result).rejects.toThrow(PromptStuck);
  });

  it("stops a prompt that runs longer than it may", async () => {
    await open();
    const { result } = drive({ timeoutMs: 200 });
    await submitted();
    comfy.send("execution_start", { prompt_id: promptId() });
    expect((await failureOf(result)).jobError.code).toBe("execution_timeout");
    expect(comfy.running).toEqual([]);
  });
});
