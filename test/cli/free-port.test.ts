import { once } from "node:events";
import { createServer, type Server } from "node:net";
import { afterEach, beforeEach, expect, it } from "vitest";
import { freePort } from "#cli/local/free-port";

const HOST = "127.0.0.1";

let holder: Server;
let port: number;
beforeEach(async () => {
  holder = createServer().listen(0, HOST);
  await once(holder, "listening");
  const address = holder.address();
  port = typeof address === "object" && address !== null ? address.port : 0;
});
afterEach(() => {
  holder.close();
});

it("is the wanted one as soon as a program that ends lets go of it", async () => {
  setTimeout(() => holder.close(), 150);
  expect(await freePort(HOST, port)).toBe(port);
});

it("is the next one where another program stays", async () => {
  expect(await freePort(HOST, port)).toBeGreaterThan(port);
});

it("is any one where none is wanted", async () => {
  expect(await freePort(HOST, 0)).toBeGreaterThan(0);
});
