import fc from "fast-check";
import { describe, it } from "vitest";
import { EndpointModel, operation } from "./endpoint-model.ts";

describe("an endpoint under every fault", () => {
  it("keeps its promises, and ends every job once the faults stop", () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 120, size: "max" }), (operations) => {
        const model = new EndpointModel();
        for (const op of operations) model.run(op);
        model.heal();
      }),
      { numRuns: Number(process.env.PILOTLIGHT_MODEL_RUNS ?? 100) },
    );
  }, 600_000);
});
