/**
 * The floor's agent: takes one lease after the other, has ComfyUI draw, stores the picture and completes. Prints one line
 * when it waits for its first lease.
 *
 *     node bench/floor/agent.ts FLOOR_URL COMFYUI_URL
 */
import * as z from "zod";
import { floorReplica } from "#bench/floor/floor";
import { ComfyCaller } from "#bench/load/comfy-caller";
import { Connection } from "#bench/load/connection";
import { graphOf } from "#bench/subject";

const Inputs = z.object({ inputs: z.object({ color: z.int() }) });

const [floorUrl, comfyUrl] = process.argv.slice(2);
if (floorUrl === undefined || comfyUrl === undefined) throw new Error("name the floor's address and ComfyUI's");
const replica = await floorReplica(floorUrl, "agent");
const uploads = await Connection.open(floorUrl);
const comfy = await ComfyCaller.open(comfyUrl);
console.log("ready");
for (let lease = await replica.take(); ; ) {
  const { color } = Inputs.parse(JSON.parse(lease.inputs)).inputs;
  const picture = await comfy.picture(graphOf(color));
  const stored = await uploads.send({ method: "PUT", path: `/outputs/${lease.id}`, body: picture });
  if (stored.status !== 204) throw new Error(`the floor answered ${stored.status}`);
  lease = (await replica.complete(lease, true)) ?? (await replica.take());
}
