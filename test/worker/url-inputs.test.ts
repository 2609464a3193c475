import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { FILE_BYTES_MAX } from "#contract/limits";
import { guardUrl } from "#contract/public-url";
import { HONEST_URLS, HOSTILE_URLS, OWN_HOST } from "#test/contract/url-table";
import { png } from "#test/worker/pictures";
import {
  jsonOf,
  makeEndpoint,
  makeWorkspace,
  refusalOf,
  scaleGraph,
  send,
  type TestWorkspace,
} from "#test/worker/workspace";

let workspace: TestWorkspace;
beforeAll(async () => {
  workspace = await makeWorkspace();
  await makeEndpoint(workspace.key, "scale", { workflow: scaleGraph() });
});
afterEach(() => {
  vi.restoreAllMocks();
});

const submit = (image: string) =>
  send("POST", "/v1/endpoints/scale/jobs", { key: workspace.key, json: { inputs: { image } } });

/** The outside world, which answers every request like this. */
function outsideAnswers(answer: () => Response | Promise<Response>) {
  return vi.spyOn(globalThis, "fetch").mockImplementation(async () => answer());
}

describe("an input given by its address", () => {
  it("is fetched once, without credentials and redirects, and kept as a file", async () => {
    const picture = png(48, 48, 1);
    const outside = outsideAnswers(() => new Response(picture, { headers: { "content-type": "image/png" } }));
    const job = await jsonOf(await submit("https://images.example.com/dir/my%20cat.png?x=1"));
    const [url, options] = outside.mock.calls[0] ?? [];
    expect(String(url)).toBe("https://images.example.com/dir/my%20cat.png?x=1");
    expect(options).toMatchObject({ redirect: "manual" });
    expect(new Headers(options?.headers).has("authorization")).toBe(false);
    expect(outside).toHaveBeenCalledTimes(1);
    const { image } = job.inputs as { image: string };
    const file = await jsonOf(await send("GET", `/v1/files/${image}`, { key: workspace.key }));
    expect(file).toMatchObject({ filename: "my cat.png", content_type: "image/png", size: picture.byteLength });
  });

  it("is known by its bytes when its server does not name them", async () => {
    outsideAnswers(() => new Response(png(48, 48, 5), { headers: { "content-type": "binary/octet-stream" } }));
    const { inputs } = await jsonOf(await submit("https://images.example.com/b"));
    const file = await send("GET", `/v1/files/${(inputs as { image: string }).image}`, { key: workspace.key });
    expect(await jsonOf(file)).toMatchObject({ content_type: "image/png" });
  });

  it.each([
    ["jobs", (image: string) => ({ inputs: { image } })],
    ["batches", (image: string) => ({ inputs: [{ image }, { image }] })],
  ] as const)("%s: is fetched once while the same call is sent again", async (route, body) => {
    // Each request has a context of its own, so that the two sides only look at what the other one has set.
    let mayAnswer = false;
    const outside = outsideAnswers(async () => {
      while (!mayAnswer) await scheduler.wait(5);
      return new Response(png(48, 48, 3), { headers: { "content-type": "image/png" } });
    });
    const call = (image: string, key = `slow-${route}`) =>
      send("POST", `/v1/endpoints/scale/${route}`, {
        key: workspace.key,
        json: body(image),
        headers: { "idempotency-key": key },
      });
    const first = call("https://images.example.com/slow.png");
    await expect.poll(() => outside.mock.calls.length).toBe(1);
    const again = await call("https://images.example.com/slow.png");
    expect(again.headers.get("retry-after")).toBe("1");
    expect(await refusalOf(again)).toEqual({ status: 409, code: "request_in_flight" });
    expect(await refusalOf(await call("https://images.example.com/other.png"))).toEqual({
      status: 422,
      code: "idempotency_key_reused",
    });
    mayAnswer = true;
    const made = await first;
    expect(made.status).toBe(202);
    const replayed = await call("https://images.example.com/slow.png");
    expect(replayed.headers.get("idempotency-replayed")).toBe("true");
    expect((await jsonOf(replayed)).id).toBe((await jsonOf(made)).id);
  });

  it("leaves the key free when it could not be fetched", async () => {
    const call = () =>
      send("POST", "/v1/endpoints/scale/jobs", {
        key: workspace.key,
        json: { inputs: { image: "https://images.example.com/later.png" } },
        headers: { "idempotency-key": "later" },
      });
    outsideAnswers(() => new Response("no", { status: 503 }));
    expect((await call()).status).toBe(422);
    outsideAnswers(() => new Response(png(48, 48, 4), { headers: { "content-type": "image/png" } }));
    expect((await call()).status).toBe(202);
  });

  it("may come from this machine on a developer's", async () => {
    const outside = outsideAnswers(() => new Response(png(48, 48, 2), { headers: { "content-type": "image/png" } }));
    expect((await submit("http://127.0.0.1:9000/a.png")).status).toBe(202);
    expect(String(outside.mock.calls[0]?.[0])).toBe("http://127.0.0.1:9000/a.png");
  });

  it.each<[string, () => Response | Promise<Response>, string]>([
    [
      "redirects",
      () => new Response(null, { status: 302, headers: { location: "http://169.254.169.254/" } }),
      "url_fetch_failed",
    ],
    ["answers 404", () => new Response("no", { status: 404 }), "url_fetch_failed"],
    ["answers with a part", () => new Response("x", { status: 206 }), "url_fetch_failed"],
    ["cannot be reached", () => Promise.reject(new TypeError("no route")), "url_fetch_failed"],
    ["is no picture", () => new Response("<html>", { headers: { "content-type": "image/png" } }), "invalid_file"],
    ["is empty", () => new Response(new Uint8Array(0)), "invalid_file"],
    [
      "answers with a page in place of a picture",
      () => new Response("<html>Please sign in</html>", { headers: { "content-type": "image/png" } }),
      "invalid_file",
    ],
    [
      "never ends",
      () =>
        new Response(
          new ReadableStream<Uint8Array>({
            pull: (controller) => controller.enqueue(png(8, 8, 3)),
          }).pipeThrough(
            new TransformStream<Uint8Array, Uint8Array>({
              transform: (chunk, controller) => {
                controller.enqueue(chunk);
                controller.enqueue(new Uint8Array(FILE_BYTES_MAX / 10));
              },
            }),
          ),
        ),
      "url_fetch_failed",
    ],
    [
      "breaks off",
      () =>
        new Response(
          new ReadableStream<Uint8Array>({
            start: (controller) => controller.enqueue(png(8, 8, 4)),
            pull: (controller) => controller.error(new Error("reset")),
          }),
        ),
      "url_fetch_failed",
    ],
  ])("is refused when it %s", async (_name, answer, code) => {
    vi.spyOn(console, "error").mockReturnValue();
    outsideAnswers(answer);
    expect(await refusalOf(await submit("https://images.example.com/a.png"))).toEqual({
      status: 422,
      code,
      paths: ["/inputs/image"],
    });
  });

  it("is not fetched when another input is wrong", async () => {
    const outside = outsideAnswers(() => new Response(png(8, 8)));
    const answer = await send("POST", "/v1/endpoints/scale/jobs", {
      key: workspace.key,
      json: { inputs: { image: "https://images.example.com/a.png", nonsense: 1 } },
    });
    expect(answer.status).toBe(422);
    expect(outside).not.toHaveBeenCalled();
  });
});

describe("the guard of addresses, with workerd's own parser", () => {
  const rules = { allowLoopback: false, ownHosts: [OWN_HOST] };

  it("takes every honest one", () => {
    expect(HONEST_URLS.filter((text) => !guardUrl(text, rules).ok)).toEqual([]);
  });
  it("refuses every hostile one", () => {
    expect(HOSTILE_URLS.flatMap(({ urls }) => urls).filter((text) => guardUrl(text, rules).ok)).toEqual([]);
  });
});
