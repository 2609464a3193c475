import { afterEach, describe, expect, it, vi } from "vitest";
import { guardUrl, type PublicUrl } from "#contract/public-url";
import { fetchGuarded, type OpenAnswer, openGuarded } from "#durable-objects/egress/guarded-fetch";

afterEach(() => {
  vi.restoreAllMocks();
});

const get = { method: "GET", deadlineMs: 10_000 } as const;
/** Soon, for tests in which nothing else ever ends the call. */
const SOON_MS = 30;

function publicUrl(text: string): PublicUrl {
  const verdict = guardUrl(text, { allowLoopback: false, ownHosts: [] });
  if (!verdict.ok) throw new Error(verdict.reason);
  return verdict.url;
}
const url = publicUrl("https://hooks.example.com/in?x=1");

/** The outside world, which answers every request like this. */
function outsideAnswers(answer: (init: RequestInit | undefined) => Response | Promise<Response>) {
  return vi.spyOn(globalThis, "fetch").mockImplementation(async (_url, init) => answer(init));
}

/** A body of `chunk` for ever, or of nothing for ever, that notes how it was ended. */
function endless(chunk: Uint8Array | undefined) {
  const seen = { pulls: 0, cancelled: false };
  const body = new ReadableStream<Uint8Array>({
    pull: (controller) => {
      seen.pulls += 1;
      if (chunk !== undefined) controller.enqueue(chunk);
      return chunk === undefined ? new Promise<void>(() => undefined) : undefined;
    },
    cancel: () => {
      seen.cancelled = true;
    },
  });
  return { body, seen };
}

describe("a request to an address that a caller gave", () => {
  it("sends what it is given, our name, and nothing of the caller's", async () => {
    const outside = outsideAnswers(() => new Response("ok", { status: 201, headers: { "x-their": "1" } }));
    const headers = { "content-type": "application/json", "user-agent": "someone else" };
    const answer = await fetchGuarded(url, { ...get, method: "POST", headers, body: "{}", bytesMax: 100 });
    expect(answer).toMatchObject({ ok: true, status: 201, truncated: false, body: new TextEncoder().encode("ok") });
    if (answer.ok) expect(answer.headers.get("x-their")).toBe("1");
    expect(outside).toHaveBeenCalledTimes(1);
    const [sentTo, init] = outside.mock.calls[0] ?? [];
    expect(sentTo).toBe("https://hooks.example.com/in?x=1");
    expect(init).toMatchObject({ method: "POST", redirect: "manual", body: "{}" });
    expect(init?.headers).toEqual({
      accept: "*/*",
      "content-type": "application/json",
      "user-agent": "pilotlight",
    });
  });

  it.each([301, 302, 303, 307, 308])("hands over a %i and does not follow it", async (status) => {
    const outside = outsideAnswers(() => new Response(null, { status, headers: { location: "http://10.0.0.1/" } }));
    expect(await fetchGuarded(url, { ...get, bytesMax: 100 })).toMatchObject({ ok: true, status });
    expect(outside).toHaveBeenCalledTimes(1);
  });

  it.each([
    [0, true],
    [4, true],
    [5, false],
    [6, false],
  ])("keeps %i bytes at most; of five it left some out: %s", async (bytesMax, truncated) => {
    outsideAnswers(() => new Response("abcde"));
    const answer = await fetchGuarded(url, { ...get, bytesMax });
    expect(answer).toMatchObject({ truncated, body: new TextEncoder().encode("abcde".slice(0, bytesMax)) });
  });

  it("stops reading a body that never ends, and ends the connection", async () => {
    const { body, seen } = endless(new Uint8Array(1_000));
    outsideAnswers(() => new Response(body));
    const answer = await fetchGuarded(url, { ...get, bytesMax: 2_500 });
    expect(answer).toMatchObject({ ok: true, truncated: true });
    if (answer.ok) expect(answer.body.byteLength).toBe(2_500);
    expect(seen.cancelled).toBe(true);
    expect(seen.pulls).toBeLessThan(10);
  });

  it("gives up at its deadline when no answer comes", async () => {
    outsideAnswers(
      (init) =>
        new Promise((_resolve, reject) => {
          init?.signal?.addEventListener("abort", () => reject(init.signal?.reason));
        }),
    );
    expect(await fetchGuarded(url, { ...get, deadlineMs: SOON_MS, bytesMax: 100 })).toMatchObject({
      ok: false,
      why: "timeout",
    });
  });

  it("gives up at its deadline when the body stalls, and ends the connection", async () => {
    const { body, seen } = endless(undefined);
    outsideAnswers(() => new Response(body));
    const answer = await fetchGuarded(url, { ...get, deadlineMs: SOON_MS, bytesMax: 100 });
    expect(answer).toMatchObject({ ok: false, why: "timeout" });
    expect(seen.cancelled).toBe(true);
  });

  it("says that nothing answers, and that an answer broke off", async () => {
    outsideAnswers(() => Promise.reject(new TypeError("no route")));
    expect(await fetchGuarded(url, { ...get, bytesMax: 100 })).toMatchObject({ ok: false, why: "unreachable" });
    outsideAnswers(
      () => new Response(new ReadableStream({ pull: (controller) => controller.error(new Error("reset")) })),
    );
    expect(await fetchGuarded(url, { ...get, bytesMax: 100 })).toMatchObject({ ok: false, why: "broken_off" });
  });

  it("gives the body as it arrives, and lets go of it when its reader stops", async () => {
    const { body, seen } = endless(new Uint8Array([1, 2, 3]));
    outsideAnswers(() => new Response(body, { headers: { "content-type": "image/png" } }));
    const answer = await openGuarded(url, get);
    if (!answer.ok) throw new Error(answer.why);
    expect(answer.headers.get("content-type")).toBe("image/png");
    for await (const chunk of answer.chunks) {
      expect(chunk).toEqual(new Uint8Array([1, 2, 3]));
      break;
    }
    expect(seen.cancelled).toBe(true);
  });

  it("can be let go unread", async () => {
    const { body, seen } = endless(undefined);
    outsideAnswers(() => new Response(body));
    const answer = await openGuarded(url, get);
    if (answer.ok) await answer.discard();
    expect(seen.cancelled).toBe(true);
  });

  it("hands its body to another stream whole", async () => {
    outsideAnswers(() => new Response("abcde"));
    const answer = await openGuarded(url, get);
    if (!answer.ok) throw new Error(answer.why);
    const fixed = new FixedLengthStream(5);
    const [text] = await Promise.all([new Response(fixed.readable).text(), answer.pipeTo(fixed.writable)]);
    expect(text).toBe("abcde");
  });

  it("gives up at its deadline when the body stalls on its way to another stream", async () => {
    outsideAnswers(() => new Response(endless(undefined).body));
    const answer = await openGuarded(url, { ...get, deadlineMs: SOON_MS });
    if (!answer.ok) throw new Error(answer.why);
    const piped = answer.pipeTo(new FixedLengthStream(5).writable);
    await expect(piped).rejects.toMatchObject({ failure: { why: "timeout" } });
  });

  it.each<[string, (answer: OpenAnswer) => Promise<unknown>]>([
    [
      "read",
      async ({ chunks }) => {
        for await (const chunk of chunks) expect(chunk.byteLength).toBeGreaterThan(0);
      },
    ],
    ["handed on", ({ pipeTo }) => pipeTo(new WritableStream())],
    ["let go", ({ discard }) => discard()],
  ])("leaves no timer behind when its answer is %s", async (_, end) => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      outsideAnswers(() => new Response("abcde"));
      const answer = await openGuarded(url, get);
      if (!answer.ok) throw new Error(answer.why);
      expect(vi.getTimerCount()).toBe(1);
      await end(answer);
      expect(vi.getTimerCount()).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });
});
