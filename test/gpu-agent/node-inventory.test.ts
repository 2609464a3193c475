import { describe, expect, it } from "vitest";
import { NODE_BUILDS_MAX, NODE_MODELS_MAX, SLOTS_PER_NODE_MAX } from "#contract/limits";
import { NodeInventory } from "#contract/replica";
import { slotCount } from "#gpu-agent/main";
import { Inventory } from "#gpu-agent/node-inventory";

const sha = (number: number) => number.toString(16).padStart(64, "0");
const gpu = { index: 0, name: "card", uuid: null, vram_mb: 1, driver: "570.86" };

function inventoryOf(more: Partial<ConstructorParameters<typeof Inventory>[0]> = {}) {
  const disk = { builds: [sha(1)], models: [sha(2)] };
  let now = 0;
  const inventory = new Inventory({
    gpus: [gpu],
    folder: "/",
    python: "/venv/bin/python",
    stores: { builds: () => Promise.resolve(disk.builds), models: () => Promise.resolve(disk.models) },
    runner: (program) =>
      Promise.resolve(program === "nvidia-smi" ? "| Driver Version: 570.86  CUDA Version: 12.8 |" : "Python 3.12.9\n"),
    now: () => now,
    ...more,
  });
  return {
    inventory,
    disk,
    pass: (ms: number) => {
      now += ms;
    },
  };
}

describe("what a machine has", () => {
  it("is asked of nvidia-smi, Python and its disk", async () => {
    const { inventory } = inventoryOf();
    const found = NodeInventory.parse(await inventory.current());
    expect(found).toMatchObject({ driver: "570.86", cuda: "12.8", python: "3.12.9", node: process.versions.node });
    expect([found.builds, found.models]).toEqual([[sha(1)], [sha(2)]]);
    expect(found.memory_mb).toBeGreaterThan(0);
    expect(found.disk_total_mb).toBeGreaterThan(0);
  });

  it("is null where nobody tells", async () => {
    const broken = () => Promise.reject(new Error("ENOENT"));
    const { inventory } = inventoryOf({ runner: broken, gpus: [], stores: { builds: broken, models: broken } });
    expect(NodeInventory.parse(await inventory.current())).toMatchObject({
      driver: null,
      cuda: null,
      python: null,
      builds: [],
      models: [],
    });
  });

  it("is news until the pod has answered, and again when the disk changes or the pod has lost it", async () => {
    const { inventory, disk, pass } = inventoryOf();
    const first = await inventory.news();
    expect(first).not.toBeNull();
    expect(await inventory.news()).not.toBeNull();
    if (first !== null) inventory.told(first);
    expect(await inventory.news()).toBeNull();
    disk.builds = [sha(1), sha(3)];
    pass(10_000);
    expect((await inventory.news())?.builds).toEqual([sha(1), sha(3)]);
    inventory.told(await inventory.current());
    expect(await inventory.news()).toBeNull();
    inventory.forgotten();
    expect(await inventory.news()).not.toBeNull();
  });

  it("is no more than a message carries", async () => {
    const many = Array.from({ length: NODE_MODELS_MAX + 1 }, (_, index) => sha(index));
    const stores = { builds: () => Promise.resolve(many), models: () => Promise.resolve(many) };
    const found = NodeInventory.parse(await inventoryOf({ stores }).inventory.current());
    expect([found.builds.length, found.models.length]).toEqual([NODE_BUILDS_MAX, NODE_MODELS_MAX]);
  });
});

describe("a machine's slots", () => {
  const standIn = { comfy: { kind: "stand-in" as const, args: [] }, slotsPerGpu: 1 };

  it("are so many for each card, or as many as are asked for, spread over the cards", () => {
    expect(slotCount(standIn, 4)).toEqual({ slots: 4, slotsPerGpu: 1 });
    expect(slotCount({ ...standIn, slotsPerGpu: 2 }, 4)).toEqual({ slots: 8, slotsPerGpu: 2 });
    expect(slotCount({ ...standIn, slots: 6 }, 4)).toEqual({ slots: 6, slotsPerGpu: 2 });
    expect(slotCount({ ...standIn, slots: 1 }, 4)).toEqual({ slots: 1, slotsPerGpu: 1 });
    expect(slotCount({ ...standIn, slotsPerGpu: 3 }, 0)).toEqual({ slots: 3, slotsPerGpu: 3 });
  });

  it("are those of the ComfyUIs that run already, and never more than a node may have", () => {
    const urls = ["http://one", "http://two", "http://three"];
    expect(slotCount({ ...standIn, comfy: { kind: "attach", urls } }, 1)).toEqual({ slots: 3, slotsPerGpu: 3 });
    expect(slotCount({ ...standIn, slotsPerGpu: SLOTS_PER_NODE_MAX }, 8)).toEqual({
      slots: SLOTS_PER_NODE_MAX,
      slotsPerGpu: SLOTS_PER_NODE_MAX / 8,
    });
  });
});
