import { migrate } from "#durable-objects/sql/migrate";
import { endpointMigrations } from "#migrations/endpoint/all";
import { Coverage } from "./coverage.ts";
import { SimulatedDatabase } from "./simulated-database.ts";
import { Simulation, type SimulationResult, type VerifyManifest } from "./simulation.ts";

/**
 * The Worker's check of manifests. Its types are those of Cloudflare's runtime, which programs for Node do not know:
 * the name is a value, so that only the loader follows it.
 */
async function workersOwnCheck(): Promise<VerifyManifest> {
  const name: string = "#durable-objects/outputs/stored-outputs";
  const module = (await import(name)) as { verifyManifest: VerifyManifest };
  return module.verifyManifest;
}

/** Runs seeds one after the other, in one process and over one database. */
export class SeedRunner {
  readonly coverage = new Coverage();
  readonly #database = new SimulatedDatabase();
  #verifyManifest: VerifyManifest | null = null;

  /**
   * @param operations under faults; a run goes on until everything has come to its end
   * @param meddle called between any two events, to break what must not break
   */
  async run(seed: number, operations: number, meddle?: (world: Simulation) => void): Promise<SimulationResult> {
    if (this.#verifyManifest === null) {
      this.#verifyManifest = await workersOwnCheck();
      migrate(this.#database, endpointMigrations, 0);
      this.#database.keepAsStart();
    }
    const { coverage } = this;
    const verifyManifest = this.#verifyManifest;
    return new Simulation({
      seed,
      operations,
      database: this.#database,
      coverage,
      verifyManifest,
      ...(meddle === undefined ? {} : { meddle }),
    }).run();
  }
}
