import { cloudflareTest, readD1Migrations } from "@cloudflare/vitest-plugin";
import { defineConfig } from "vitest/config";

const WORKERD_TESTS = ["test/worker/**/*.test.ts", "test/durable-objects/{endpoint,pod,webhooks}/**/*.test.ts"];
const PROCESS_TESTS = ["test/{gpu-agent,cli,client,journey,fakes,chaos}/**/*.test.ts", "test/*.test.ts"];

export default defineConfig({
  test: {
    reporters: ["default", "./test/closing-line-reporter.ts"],
    projects: [
      {
        test: {
          name: "pure",
          include: [
            "test/{contract,workflow,bench}/**/*.test.ts",
            "test/durable-objects/{queue,control,replicas,autoscaler,outbox,sql,models}/**/*.test.ts",
          ],
        },
      },
      {
        plugins: [
          cloudflareTest(async () => ({
            wrangler: { configPath: "./wrangler.toml" },
            miniflare: {
              bindings: {
                CATALOG_MIGRATIONS: await readD1Migrations("./migrations/catalog"),
                SIGNING_SECRET: "a secret of the test run, 32 bytes or more",
                ALLOW_LOOPBACK_URLS: "true",
                MODEL_RUNS: process.env.PILOTLIGHT_MODEL_RUNS ?? "",
              },
            },
          })),
        ],
        test: {
          name: "workerd",
          include: WORKERD_TESTS,
          setupFiles: ["./test/worker/apply-migrations.ts"],
          // A hundred MiB uploaded takes seconds where other tests have the processors.
          testTimeout: 60_000,
        },
      },
      {
        test: {
          name: "simulation",
          include: ["test/simulation/**/*.test.ts"],
          // The runs spread themselves over all cores, and one file after the other leaves each of them its time.
          fileParallelism: false,
          testTimeout: 600_000,
        },
      },
      {
        test: {
          name: "processes",
          include: PROCESS_TESTS,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          // Each of these starts programs of its own and waits for them: three at once keep two cores at work.
          maxWorkers: 3,
        },
      },
    ],
  },
});
