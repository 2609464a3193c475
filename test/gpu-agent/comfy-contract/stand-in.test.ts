import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe } from "vitest";
import { protocolTests } from "./protocol.ts";
import { Contract, type Spawned, spawnStandIn } from "./servers.ts";

describe.each(["0.3.64", "newer"])("the stand-in as %s", (generation) => {
  const contract = new Contract();
  let spawned: Spawned | undefined;
  let folder = "";
  beforeAll(async () => {
    folder = mkdtempSync(path.join(tmpdir(), "contract-"));
    const flags = ["--generation", generation, "--base-directory", folder, "--max-upload-size", "1"];
    spawned = await spawnStandIn([...flags, "--disable-auto-launch"]);
    await contract.meet(spawned.url);
  });
  afterAll(async () => {
    contract.close();
    spawned?.process.kill();
    await spawned?.exited;
    rmSync(folder, { recursive: true, force: true });
  });
  protocolTests(contract);
});
