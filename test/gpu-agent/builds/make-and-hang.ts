/** A process that makes a build: `node make-and-hang.ts plan.json`. Tests kill it. */
import { readFileSync } from "node:fs";
import * as z from "zod";
import { BuildManifest } from "#contract/build";
import { BuildStore } from "#gpu-agent/builds/build-store";
import { noModels } from "#test/gpu-agent/builds/build-fixtures";

const Plan = z.object({ folder: z.string(), python: z.string(), digest: z.string(), manifest: BuildManifest });
const plan = Plan.parse(JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")));
const store = new BuildStore({
  folder: plan.folder,
  sources: {
    models: noModels,
    registry: { url: "https://registry.example.org", reach: "public" },
    allowFiles: true,
    pythons: [plan.python],
  },
  environment: process.env,
  freeBytesMin: 0,
  log: () => undefined,
});
await store.prepare(plan.digest, plan.manifest, { signal: new AbortController().signal, onStep: () => undefined });
