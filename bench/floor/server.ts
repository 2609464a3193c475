/**
 * Runs the floor as the product's local server runs the Worker: workerd's own socket, state on disk. Prints one line of
 * JSON, `{"url": …}`, when it is ready, and ends when its standard input does.
 *
 *     node bench/floor/server.ts FOLDER
 */
import { readFile } from "node:fs/promises";
import { stripTypeScriptTypes } from "node:module";
import { Miniflare } from "miniflare";
import { freePort } from "#cli/local/free-port";

const HOST = "127.0.0.1";
const NAME = "floor";
const CLASSES = { QUEUE: "FloorQueue", BARE: "BareQueue" } as const;

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new Error("name a folder for the floor's state");
const source = await readFile(new URL("./worker.ts", import.meta.url), "utf8");
const port = await freePort(HOST, 0);
const miniflare = new Miniflare({
  host: HOST,
  port: 0,
  logRequests: false,
  cf: false,
  resourcePersistencePath: folder,
  telemetry: { enabled: false },
  enableDevRegistry: false,
  workers: [
    {
      config: {
        name: NAME,
        compatibilityDate: "2026-10-01",
        manifest: {
          mainModule: "main.js",
          modules: { "main.js": { type: "esm", contents: stripTypeScriptTypes(source, { mode: "strip" }) } },
        },
        env: {
          QUEUE: { type: "durable-object", worker: NAME, exportName: CLASSES.QUEUE },
          BARE: { type: "durable-object", worker: NAME, exportName: CLASSES.BARE },
          STORE: { type: "r2", name: "floor" },
        },
        exports: Object.fromEntries(
          Object.values(CLASSES).map((name) => [name, { type: "durable-object", storage: "sqlite" } as const]),
        ),
      },
      dev: { unsafeDirectSockets: [{ host: HOST, port }] },
    },
  ],
});
await miniflare.ready;
console.log(JSON.stringify({ url: `http://${HOST}:${port}` }));
process.stdin.resume();
process.stdin.once("end", async () => {
  await miniflare.dispose();
  process.exit(0);
});
