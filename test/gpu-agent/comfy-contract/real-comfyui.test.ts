/**
 * The same tests against a real server: COMFYUI_URL=http://127.0.0.1:8188 npx vitest run --project processes
 * test/gpu-agent/comfy-contract/real-comfyui.test.ts. It needs no models and no GPU, but must have nothing else to do.
 */
import { afterAll, beforeAll, describe } from "vitest";
import { protocolTests } from "./protocol.ts";
import { Contract } from "./servers.ts";

const url = process.env.COMFYUI_URL;

describe.skipIf(url === undefined)("ComfyUI at COMFYUI_URL", () => {
  const contract = new Contract();
  beforeAll(async () => await contract.meet(url ?? ""));
  afterAll(() => contract.close());
  protocolTests(contract);
});
