import { execFileSync, spawnSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { cleanUp, modelOf, never, onCleanUp, safetensors, temporaryFolder, testStore } from "./model-files.ts";
import { ModelServer } from "./model-server.ts";
import { startChild } from "./start-child.ts";

afterEach(cleanUp);
const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;

it.skipIf(!hasOpenssl)("a source over TLS is believed with a certificate of its name, and not without", async () => {
  const folder = await temporaryFolder();
  const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const files = ["-keyout", key, "-out", cert];
  execFileSync("openssl", ["req", "-x509", "-days", "2", ...curve, ...files, ...subject], { stdio: "ignore" });
  const server = await new ModelServer({
    key: await readFile(key, "utf8"),
    cert: await readFile(cert, "utf8"),
  }).start();
  onCleanUp(() => server.stop());
  const bytes = safetensors(50_000);
  const model = modelOf(bytes, [server.serve("/model", { bytes })]);
  expect(model.sources[0]).toMatch(/^https:\/\/localhost:/);

  const store = await testStore(folder, { reach: "private" });
  await expect(store.ensure(model, { signal: never() })).rejects.toMatchObject({
    code: "source_unreachable",
    message: expect.stringContaining("SELF_SIGNED_CERT"),
  });
  expect(server.seen).toEqual([]);

  const trusting = { environment: { NODE_EXTRA_CA_CERTS: cert } };
  const child = startChild({ do: "ensure", folder, models: [model], pieceBytes: 10_000, reach: "private" }, trusting);
  await child.said("done");
  expect(server.seen.length).toBe(6);
  expect((await store.list()).map(({ sha256 }) => sha256)).toEqual([model.sha256]);
});
