import type { D1Migration } from "cloudflare:test";
import type { Env as WorkerEnv } from "#worker/env";
import type * as main from "#worker/main";

declare global {
  namespace Cloudflare {
    interface Env extends WorkerEnv {
      readonly CATALOG_MIGRATIONS: D1Migration[];
      /** How many runs the models make, empty for their own number. */
      readonly MODEL_RUNS: string;
    }
    interface GlobalProps {
      mainModule: typeof main;
    }
  }
}
