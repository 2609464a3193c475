import { readFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  cleanUp,
  modelOf,
  never,
  onCleanUp,
  SMALL_PIECES,
  safetensors,
  temporaryFolder,
  testStore,
} from "./model-files.ts";
import { ModelServer, type SeenRequest } from "./model-server.ts";

let server: ModelServer;
let folder: string;
const bytes = safetensors(95_000);
const PIECES = Math.ceil(bytes.byteLength / SMALL_PIECES.pieceBytes);

beforeEach(async () => {
  server = await new ModelServer().start();
  onCleanUp(() => server.stop());
  folder = await temporaryFolder();
});
afterEach(cleanUp);

async function fetched(url: string, options: Parameters<typeof testStore>[1] = {}): Promise<Buffer> {
  const store = await testStore(folder, options);
  return readFile((await store.ensure(modelOf(bytes, [url]), { signal: never() })).path);
}

describe("a connection that breaks", () => {
  it("goes on where it broke, in the middle of a part", async () => {
    const url = server.serve("/model", {
      bytes,
      behave: ({ nth }) => (nth % 2 === 0 ? { dropAfter: 4_000 } : undefined),
    });
    expect((await fetched(url)).equals(bytes)).toBe(true);
    const inside = server.seen.filter(({ range }) => range !== null && range[0] % SMALL_PIECES.pieceBytes === 4_000);
    expect(inside.length).toBeGreaterThan(0);
  });

  it("is given up when nothing comes any more, and what has come stays", async () => {
    const url = server.serve("/model", {
      bytes,
      behave: ({ range }) => ((range?.[0] ?? 0) >= 50_000 ? { dropAfter: 0 } : undefined),
    });
    const store = await testStore(folder);
    await expect(store.ensure(modelOf(bytes, [url]), { signal: never() })).rejects.toMatchObject({
      code: "source_unreachable",
      retryable: true,
      message: expect.stringMatching(/failed 3 times in a row/),
    });
    const before = server.seen.length;
    server.serve("/model", { bytes });
    await store.ensure(modelOf(bytes, [url]), { signal: never() });
    const again = server.seen.slice(before);
    expect(again.every(({ range }) => (range?.[0] ?? 0) >= 40_000)).toBe(true);
    expect(again.every(({ headers }) => headers["if-range"] === '"one"')).toBe(true);
  });

  it("is taken for dead when it is silent", async () => {
    const silence = new Promise<void>(() => undefined);
    const url = server.serve("/model", {
      bytes,
      behave: ({ nth }) => (nth === 2 ? { hold: { after: 100, until: silence } } : undefined),
    });
    const patient = { stallMs: 200, limits: { ...SMALL_PIECES, triesMax: 20 } };
    expect((await fetched(url, patient)).equals(bytes)).toBe(true);
  });

  it("to nobody is an error with the host and no more of the address", async () => {
    const gone = await new ModelServer().start();
    const url = `${gone.origin}/model?token=secret`;
    await gone.stop();
    const error: unknown = await fetched(url).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: "source_unreachable", message: expect.stringContaining("ECONNREFUSED") });
    expect(String(error)).not.toContain("secret");
  });
});

describe("a server that is busy", () => {
  it.each([429, 503])("with %i is asked over fewer connections, down to one", async (status) => {
    let open = 0;
    const url = server.serve("/model", {
      bytes,
      behave: async () => {
        open += 1;
        const isOne = open === 1;
        // Long enough that all connections are open at a time.
        await new Promise((resolve) => setImmediate(resolve));
        open -= 1;
        return isOne ? undefined : { status };
      },
    });
    expect((await fetched(url)).equals(bytes)).toBe(true);
  });

  it("is given the time it asks for", async () => {
    const waits: number[] = [];
    const url = server.serve("/model", {
      bytes,
      behave: ({ nth }) => (nth === 0 ? { status: 503, headers: { "retry-after": "7" } } : undefined),
    });
    await fetched(url, {
      pause: (ms) => {
        waits.push(ms);
        return Promise.resolve();
      },
    });
    expect(waits).toContain(7_000);
  });

  it("is tried again with full jitter, at growing distance", async () => {
    const waits: number[] = [];
    const url = server.serve("/model", { bytes, behave: ({ nth }) => (nth < 2 ? { status: 500 } : undefined) });
    await fetched(url, {
      limits: { ...SMALL_PIECES, backoff: { retryBaseMs: 1_000, retryMaxMs: 9_000 } },
      chance: () => 0.5,
      pause: (ms) => {
        waits.push(ms);
        return Promise.resolve();
      },
    });
    expect(waits).toEqual([500, 1_000]);
  });
});

describe("a server without ranges", () => {
  it("gives one stream, begun anew when it breaks", async () => {
    const url = server.serve("/model", {
      bytes,
      ranges: false,
      behave: ({ nth }) => (nth === 0 ? { dropAfter: 60_000 } : undefined),
    });
    expect((await fetched(url)).equals(bytes)).toBe(true);
    expect(server.seen.length).toBe(2);
  });

  it("is refused by its length", async () => {
    const url = server.serve("/model", { bytes: bytes.subarray(0, 10), ranges: false });
    await expect(fetched(url)).rejects.toMatchObject({ code: "wrong_size" });
  });

  it.each([
    ["less", 94_000],
    ["more", 96_000],
  ])("and without a length is found out when it sends %s", async (_, size) => {
    const url = server.serve("/model", {
      bytes,
      ranges: false,
      behave: () => ({ body: safetensors(size), headers: { "transfer-encoding": "chunked", "content-length": "" } }),
    });
    await expect(fetched(url)).rejects.toMatchObject({ code: "source_unreachable" });
  });

  it("goes on from what another source has given only where ranges are served", async () => {
    const half = server.serve("/half", {
      bytes,
      behave: ({ range }) => ((range?.[0] ?? 0) >= 40_000 ? { dropAfter: 0 } : undefined),
    });
    const whole = server.serve("/whole", { bytes });
    const store = await testStore(folder);
    await store.ensure(modelOf(bytes, [half, whole]), { signal: never() });
    expect(server.requests("/whole").every(({ range }) => (range?.[0] ?? 0) >= 40_000)).toBe(true);
  });
});

describe("a file that changes at its source", () => {
  const other = safetensors(95_000, 9);

  it("between two runs is begun anew", async () => {
    const url = server.serve("/model", {
      bytes: other,
      etag: '"old"',
      behave: ({ range }) => ((range?.[0] ?? 0) >= 50_000 ? { dropAfter: 0 } : undefined),
    });
    await expect(fetched(url)).rejects.toMatchObject({ code: "source_unreachable" });
    server.serve("/model", { bytes, etag: '"new"' });
    const before = server.seen.length;
    expect((await fetched(url)).equals(bytes)).toBe(true);
    expect(server.seen[before]?.headers["if-range"]).toBe('"old"');
    expect(server.seen.slice(before).some(({ range }) => range?.[0] === 0)).toBe(true);
  });

  it("in the middle of a run is begun anew", async () => {
    const file = { bytes: other, etag: '"old"', behave: change };
    function change({ nth }: SeenRequest): undefined {
      if (nth === 5) Object.assign(file, { bytes, etag: '"new"' });
    }
    expect((await fetched(server.serve("/model", file))).equals(bytes)).toBe(true);
  });

  it("without a sign of it is found out by its hash, and fetched once more", async () => {
    const url = server.serve("/model", {
      bytes: other,
      etag: null,
      behave: ({ range }) => ((range?.[0] ?? 0) >= 50_000 ? { dropAfter: 0 } : undefined),
    });
    await expect(fetched(url)).rejects.toMatchObject({ code: "source_unreachable" });
    server.serve("/model", { bytes, etag: null });
    expect((await fetched(url)).equals(bytes)).toBe(true);
    expect(server.seen.length).toBeGreaterThan(PIECES + 5);
  });

  it("again and again is given up", async () => {
    const url = server.serve("/model", {
      bytes,
      behave: ({ nth, range }) => ({
        status: 206,
        body: bytes.subarray(range?.[0], range?.[1]),
        headers: {
          etag: `"${nth}"`,
          "content-range": `bytes ${range?.[0]}-${(range?.[1] ?? 0) - 1}/${bytes.byteLength}`,
        },
      }),
    });
    await expect(fetched(url)).rejects.toMatchObject({ code: "source_changed", retryable: true });
  });
});

describe("an answer that is not to be believed", () => {
  it.each([
    ["another part", { "content-range": "bytes 5-10004/95072" }],
    ["no part at all", { "content-range": "lines 1-2" }],
    ["a part that is too long", { "content-range": "bytes 0-20000/95072" }],
  ])("is not written: %s", async (_, headers) => {
    const total = bytes.byteLength;
    const given = { "content-range": headers["content-range"].replace("95072", String(total)) };
    const url = server.serve("/model", {
      bytes,
      behave: () => ({ status: 206, body: bytes.subarray(5, 10_005), headers: given }),
    });
    await expect(fetched(url)).rejects.toMatchObject({ code: "source_unreachable" });
  });

  it("is not unpacked", async () => {
    const url = server.serve("/model", { bytes, behave: () => ({ headers: { "content-encoding": "gzip" } }) });
    await expect(fetched(url)).rejects.toMatchObject({ code: "source_denied" });
    expect(server.seen[0]?.headers["accept-encoding"]).toBe("identity");
  });

  it("may be shorter than what was asked for", async () => {
    const url = server.serve("/model", {
      bytes,
      behave: ({ range }) => {
        const [start, end] = range ?? [0, 0];
        const stop = Math.min(end, start + 3_000);
        const part = `bytes ${start}-${stop - 1}/${bytes.byteLength}`;
        return { status: 206, body: bytes.subarray(start, stop), headers: { "content-range": part } };
      },
    });
    expect((await fetched(url)).equals(bytes)).toBe(true);
  });
});

describe("a redirect", () => {
  it("is followed once, and its target is asked for the other parts until its link is stale", async () => {
    const target = server.serve("/signed", {
      bytes,
      behave: ({ nth }) => (nth === 4 ? { status: 403 } : undefined),
    });
    const url = server.serve("/model", { bytes, behave: () => ({ status: 302, headers: { location: target } }) });
    expect((await fetched(url)).equals(bytes)).toBe(true);
    // Connections that begin a part while nobody knows the new link ask for it as well.
    expect(server.requests("/model").length).toBeGreaterThanOrEqual(2);
    expect(server.requests("/model").length).toBeLessThanOrEqual(1 + SMALL_PIECES.connections);
    expect(server.requests("/signed").length).toBe(PIECES + 1);
  });

  it("to a link whose time is over for all connections at once is asked for again", async () => {
    let link = "/first";
    const behave = ({ path, nth }: SeenRequest) => {
      if (path === "/first" && nth >= 3) link = "/second";
      return path === link ? undefined : { status: 403 };
    };
    for (const path of ["/first", "/second"]) server.serve(path, { bytes, behave });
    const url = server.serve("/model", { bytes, behave: () => ({ status: 302, headers: { location: link } }) });
    expect((await fetched(url)).equals(bytes)).toBe(true);
    expect(server.requests("/first").length).toBeGreaterThan(3);
  });

  it("may lead to two hosts that name the same file differently, also after a restart", async () => {
    const other = await new ModelServer().start();
    onCleanUp(() => other.stop());
    let isBroken = true;
    const behave = ({ range }: SeenRequest) => (isBroken && (range?.[0] ?? 0) >= 60_000 ? { status: 403 } : undefined);
    const links = [
      server.serve("/blob", { bytes, etag: '"here"', behave: ({ nth }) => (nth === 3 ? { status: 403 } : undefined) }),
      other.serve("/blob", { bytes, etag: '"there"', behave }),
    ];
    const url = server.serve("/model", {
      bytes,
      behave: ({ nth }) => ({ status: 302, headers: { location: links[nth === 0 ? 0 : 1] ?? "" } }),
    });
    await expect(fetched(url)).rejects.toThrow();
    isBroken = false;
    const before = [...server.requests("/blob"), ...other.requests("/blob")].length;
    expect((await fetched(url)).equals(bytes)).toBe(true);
    const again = [...server.requests("/blob"), ...other.requests("/blob")].length - before;
    // What had come from either host was kept.
    expect(again).toBeLessThan(PIECES - 2);
  });

  it("in a circle is refused", async () => {
    const url = server.serve("/model", { bytes, behave: () => ({ status: 302, headers: { location: "/model" } }) });
    await expect(fetched(url)).rejects.toMatchObject({ code: "source_refused" });
  });

  it.each(["http://192.168.1.1/model", "https://metadata.google.internal/", "file:///etc/passwd", "https://[::1]x/"])(
    "to %s is refused",
    async (location) => {
      const url = server.serve("/model", { bytes, behave: () => ({ status: 302, headers: { location } }) });
      await expect(fetched(url)).rejects.toMatchObject({ code: "source_refused" });
    },
  );
});
