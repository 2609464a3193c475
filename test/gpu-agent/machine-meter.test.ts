import { describe, expect, it } from "vitest";
import { NodeMetrics } from "#contract/replica";
import { MachineMeter, parseCpu, parseGpuFigures, parseNetwork } from "#gpu-agent/machine-meter";

const gpu = (index: number) => ({ index, name: "card", uuid: null, vram_mb: 24_564, driver: "570" });

describe("figures of GPUs", () => {
  it("are read from nvidia-smi, null where the driver does not tell", () => {
    expect(
      parseGpuFigures("0, 97, 20312, 24564, 71, 312.45\n1, [N/A], [N/A], 0, 40, [Not Supported]\nnothing\n"),
    ).toEqual([
      { index: 0, busy_percent: 97, vram_used_mb: 20_312, vram_total_mb: 24_564, temperature_c: 71, power_w: 312.45 },
      { index: 1, busy_percent: null, vram_used_mb: null, vram_total_mb: 0, temperature_c: 40, power_w: null },
    ]);
  });
});

describe("figures of the processor and the network", () => {
  it("do not count waiting for a disk as work, nor a guest twice", () => {
    expect(parseCpu("cpu  100 0 50 800 50 0 0 0 70 0\ncpu0 1 2 3 4 5\n")).toEqual({ busy: 150, all: 1_000 });
    expect(parseCpu("intr 5")).toBeNull();
    expect(parseCpu("")).toBeNull();
  });

  it("leave the loopback out", () => {
    const line = (name: string, received: number, sent: number) =>
      `  ${name}: ${received} 1 0 0 0 0 0 0 ${sent} 1 0 0 0 0 0 0`;
    const head = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes packets";
    expect(parseNetwork([head, line("lo", 9, 9), line("eth0", 100, 10), line("eth1", 1, 2)].join("\n"))).toEqual({
      received: 101,
      sent: 12,
    });
    expect(parseNetwork([head, line("lo", 9, 9)].join("\n"))).toBeNull();
  });
});

describe("a machine's figures", () => {
  const proc: Record<string, string> = {};
  const meter = (cards: number, smi: () => Promise<string>) => {
    let now = 0;
    const made = new MachineMeter({
      gpus: Array.from({ length: cards }, (_, index) => gpu(index)),
      folder: "/",
      runner: smi,
      readProc: (path) =>
        proc[path] === undefined ? Promise.reject(new Error("ENOENT")) : Promise.resolve(proc[path]),
      now: () => now,
    });
    return {
      measure: () => made.measure(),
      pass: (ms: number) => {
        now += ms;
      },
    };
  };

  it("say shares and rates since the last ones, so the first ones say none", async () => {
    proc["/proc/stat"] = "cpu 100 0 0 900 0 0 0 0 0 0";
    proc["/proc/net/dev"] = "eth0: 1000 0 0 0 0 0 0 0 500 0";
    proc["/proc/meminfo"] = "MemTotal: 2048000 kB\nMemFree: 1 kB\nMemAvailable: 1024000 kB";
    const { measure, pass } = meter(0, () => Promise.reject(new Error("never asked")));
    expect(await measure()).toMatchObject({
      gpus: [],
      cpu_percent: null,
      network_in_bytes_per_s: null,
      memory_total_mb: 2_000,
      memory_used_mb: 1_000,
    });
    proc["/proc/stat"] = "cpu 175 0 0 925 0 0 0 0 0 0";
    proc["/proc/net/dev"] = "eth0: 5000 0 0 0 0 0 0 0 500 0";
    pass(2_000);
    const second = await measure();
    expect(second).toMatchObject({ cpu_percent: 75, network_in_bytes_per_s: 2_000, network_out_bytes_per_s: 0 });
    // An interface that went away takes its count with it.
    proc["/proc/net/dev"] = "eth0: 10 0 0 0 0 0 0 0 10 0";
    pass(1_000);
    expect(await measure()).toMatchObject({ cpu_percent: null, network_in_bytes_per_s: 0 });
    expect(NodeMetrics.parse(second).disk_total_mb).toBeGreaterThan(0);
  });

  it("are null where there is neither nvidia-smi nor /proc", async () => {
    for (const path of Object.keys(proc)) delete proc[path];
    const { measure, pass } = meter(2, () => Promise.reject(new Error("ENOENT")));
    await measure();
    pass(1_000);
    const figures = NodeMetrics.parse(await measure());
    expect(figures.gpus.map(({ index, busy_percent }) => [index, busy_percent])).toEqual([
      [0, null],
      [1, null],
    ]);
    expect([figures.cpu_percent, figures.network_in_bytes_per_s]).toEqual([null, null]);
    expect(figures.memory_total_mb).toBeGreaterThan(0);
  });

  it("show the agent's cards and no others, in its order", async () => {
    const { measure } = meter(1, () => Promise.resolve("1, 5, 1, 2, 3, 4\n0, 6, 1, 2, 3, 4\n"));
    expect((await measure()).gpus).toMatchObject([{ index: 0, busy_percent: 6 }]);
  });
});
