import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { hostname, networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { killLeftovers } from "#cli/local/leftovers";
import { makeToyProject } from "#test/cli/toy/project";
import { runToyServer, type ToyServer } from "#test/cli/toy/running-server";
import { until } from "#test/until";

/** A program of this machine, on every address it has; what it hears of is what the rule let out. */
let neighbour: Server;
let heard: string[];
let port: number;
let project: Awaited<ReturnType<typeof makeToyProject>>;
let state: string;

beforeAll(async () => {
  project = await makeToyProject();
  neighbour = createServer((request, response) => {
    heard.push(request.url ?? "");
    if (request.url === "/moved") response.writeHead(302, { location: "/elsewhere" });
    response.end("heard");
  });
  await new Promise<void>((resolve) => neighbour.listen(0, resolve));
  port = (neighbour.address() as AddressInfo).port;
});
afterAll(async () => {
  neighbour.close();
  await project.remove();
});

/** This machine's addresses on networks of its own, if it has any. */
const PRIVATE =
  /^(?:10\.|172\.(?:1[6-9]|2[0-9]|3[01])\.|192\.168\.|169\.254\.|100\.(?:6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7])\.)/;
const ownPrivateAddresses = Object.values(networkInterfaces())
  .flatMap((each) => each ?? [])
  .filter(({ family, address }) => family === "IPv4" && PRIVATE.test(address))
  .map(({ address }) => address);

const never: readonly string[] = [
  ...["0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "198.18.0.1"],
  ...["224.0.0.1", "240.0.0.1", "[fc00::1]", "[fd00:ec2::254]", "[fe80::1]", "[ff02::1]", "[::ffff:10.0.0.1]"],
  ...["[::127.0.0.1]", "[::10.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::a00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]"],
  ...ownPrivateAddresses,
];
const loopback: readonly string[] = ["127.0.0.1", "127.1.2.3", "localhost", "[::ffff:127.0.0.1]", "2130706433"];

describe.each(["refused", "allowed"] as const)("the local server's network, URLs to this machine %s", (setting) => {
  let server: ToyServer;
  beforeAll(async () => {
    state = await mkdtemp(join(tmpdir(), "pilotlight-state-"));
    heard = [];
    server = await runToyServer(project.root, state, 0, undefined, setting);
  });
  afterAll(async () => {
    await server.kill("SIGTERM");
    await killLeftovers(state, "runtime");
    await rm(state, { recursive: true, force: true });
  });

  const fetchFrom = async (url: string): Promise<Record<string, unknown>> => {
    const answer = await fetch(`${server.url}/fetch?url=${encodeURIComponent(url)}`);
    return (await answer.json()) as Record<string, unknown>;
  };

  it.each(never)("refuses to connect to %s", async (host) => {
    const refusals = () => server.log.filter((line) => line.includes(`:${port} is not allowed`)).length;
    const before = refusals();
    // An Error and not a TimeoutError: nothing was even tried. Why stands in workerd's log alone.
    expect(await fetchFrom(`http://${host}:${port}/never`)).toEqual({ failed: "Error" });
    await until("the refusal is in the log", async () => (refusals() > before ? true : undefined));
    expect(heard).not.toContain("/never");
  });

  it.each(loopback)(`has %s ${setting}`, async (host) => {
    const answer = await fetchFrom(`http://${host}:${port}/${setting}`);
    expect(answer).toEqual(setting === "allowed" ? { status: 200, text: "heard" } : { failed: "Error" });
    expect(heard.includes("/refused")).toBe(false);
  });

  it("judges a name by what it leads to", async () => {
    // The machine's own name leads to loopback or to a private address, whichever its hosts file says.
    const answer = await fetchFrom(`http://${hostname()}:${port}/by-name`);
    if (setting === "refused") {
      expect(answer).toEqual({ failed: "Error" });
      expect(heard).not.toContain("/by-name");
    } else {
      expect(answer.status === 200).toBe(heard.includes("/by-name"));
    }
  });

  it("still reaches objects, catalog, store and assets", async () => {
    const get = async (path: string) => (await fetch(`${server.url}${path}`)).text();
    expect(await get("/count")).toBe("1");
    expect(JSON.parse(await get("/keys"))).toHaveLength(1);
    expect((await fetch(`${server.url}/store`, { method: "PUT", body: "kept" })).status).toBe(201);
    expect(await get("/store")).toBe("kept");
    expect(await get("/hello.txt")).toBe("hello");
  });

  it.runIf(setting === "allowed")("reports a redirect instead of following it", async () => {
    expect(await fetchFrom(`http://127.0.0.1:${port}/moved`)).toMatchObject({ status: 302 });
    expect(heard).not.toContain("/elsewhere");
  });
});
