/** Jobs of two releases in one ComfyUI: what those of one left there is gone before those of the other begin. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import type { EndpointId } from "#contract/ids";
import { AgentHarness, output } from "#test/gpu-agent/agent-harness";
import { comesTrue } from "#test/gpu-agent/quick-timings";

const graph = {
  "1": { class_type: "EmptyImage", inputs: { width: 16, height: 16, batch_size: 1, color: 7 } },
  "2": { class_type: "PreviewImage", inputs: { images: ["1", 0] } },
  "3": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "p" } },
};
const specs = { inputs: [], outputs: [{ ...output("glance", "2"), temporary: true }, output("image", "3")] };

let harness: AgentHarness;
afterEach(() => harness.close());

/** An endpoint whose second release says the same as its first, so that ComfyUI has all its results already. */
async function twoReleases(generation: string): Promise<EndpointId> {
  harness = await AgentHarness.start({ comfy: { kind: "stand-in", args: ["--generation", generation] } });
  const { endpointId } = await harness.ready(graph, specs);
  harness.plane.state.addRelease(endpointId, { ...specs, graph: JSON.stringify(graph) });
  return endpointId;
}

const job = (endpointId: EndpointId, release: number) =>
  harness.jobIs(harness.plane.state.enqueue(endpointId, { release }), "succeeded");
/** What ComfyUI's temp folder holds. */
const temp = () =>
  readdirSync(join(harness.slot, "temp"), { recursive: true, withFileTypes: true }).flatMap((entry) =>
    entry.isFile() ? [join(entry.parentPath, entry.name)] : [],
  );
const timesEmptied = () => harness.lines.filter(({ event }) => event === "folders_emptied").length;

it("previews, and files of nodes that save where they like, go; what the next job shows is made anew", async () => {
  const endpointId = await twoReleases("newer");
  await job(endpointId, 1);
  const previews = temp();
  expect(previews.length).toBeGreaterThan(0);
  const strays = ["input", "output"].map((folder) => join(harness.slot, folder, "stray.png"));
  for (const path of [...previews, ...strays]) writeFileSync(path, "of release 1");

  const { outputs } = await job(endpointId, 2);
  expect(outputs.map(({ name, bytes }) => [name, bytes.subarray(1, 4).toString("latin1")])).toEqual([
    ["glance.png", "PNG"],
    ["image.png", "PNG"],
  ]);
  expect(strays.filter((path) => existsSync(path))).toEqual([]);
  expect(temp().filter((path) => readFileSync(path, "utf8") === "of release 1")).toEqual([]);

  await job(endpointId, 2);
  expect(timesEmptied()).toBe(1);
});

it.each(["newer", "0.3.64"])(
  "jobs of both that follow each other without a pause all succeed at once, %s",
  async (generation) => {
    const endpointId = await twoReleases(generation);
    await comesTrue("its socket is open", () => harness.plane.sockets.size === 1);
    await harness.faults({ slow_node_ms: 40 });
    const ids = Array.from({ length: 12 }, (_, index) =>
      harness.plane.state.enqueue(endpointId, { release: (index >> 1) % 2 === 0 ? 1 : 2 }),
    );
    const done = await Promise.all(ids.map((id) => harness.jobIs(id, "succeeded")));
    expect(done.map(({ attempts, outputs }) => [attempts, outputs.length])).toEqual(ids.map(() => [1, 2]));
    expect(timesEmptied()).toBe(5);
  },
);
