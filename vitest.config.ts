import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { cloudflareTest, readD1Migrations } from "@cloudflare/vitest-plugin";
import { defineConfig } from "vitest/config";

const WORKERD_TESTS = ["test/worker/**/*.test.ts", "test/durable-objects/{endpoint,pod,webhooks}/**/*.test.ts"];
const PROCESS_TESTS = ["test/{gpu-agent,cli,client,journey,fakes,chaos}/**/*.test.ts", "test/*.test.ts"];

/** The tests that start programs mostly wait for them: three files at once keep two cores at work. */
const FILES_AT_ONCE = Math.max(3, availableParallelism());

export default defineConfig({
  test: {
    maxWorkers: FILES_AT_ONCE,
    reporters: ["default", "./test/closing-line-reporter.ts"],
    projects: [
      {
        test: {
          name: "pure",
          // Nothing in these folders keeps anything outside of what a test makes: a process for each file would only cost time.
          isolate: false,
          // Thousands of random cases take seconds where other programs have the processors.
          testTimeout: 30_000,
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
          // A line that an object writes after its file's last test is never told, and Vitest waits for it for ever:
          // https://github.com/cloudflare/workers-sdk/issues/15719.
          disableConsoleIntercept: true,
          // A hundred MiB uploaded takes seconds where other tests have the processors.
          testTimeout: 60_000,
        },
      },
      {
        test: {
          name: "simulation",
          include: ["test/simulation/**/*.test.ts"],
          // The runs spread themselves over all cores: one file after the other, and no other test beside it.
          fileParallelism: false,
          sequence: { groupOrder: 1 },
          testTimeout: 600_000,
        },
      },
      {
        test: {
          name: "processes",
          include: PROCESS_TESTS,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          // As the command line has it: the programs that the tests start by themselves start in half the processor time.
          env: { NODE_COMPILE_CACHE: fileURLToPath(new URL("dist/compile-cache", import.meta.url)) },
        },
      },
    ],
  },
});
