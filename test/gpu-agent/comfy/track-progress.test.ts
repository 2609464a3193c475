import { describe, expect, it } from "vitest";
import type { JsonObject } from "#contract/exact-json";
import { jobProgress, type ProgressState, startProgress, trackProgress } from "#gpu-agent/comfy/track-progress";

const node = (class_type: string) => ({ class_type, inputs: {} });
const graph = {
  "1": node("CheckpointLoaderSimple"),
  "3": node("KSampler"),
  "8": node("VAEDecode"),
  "9": node("SaveImage"),
};

const having = (...frames: (readonly [string, JsonObject])[]): ProgressState =>
  frames.reduce((state, [type, data]) => trackProgress(state, type, data), startProgress(graph));

describe("a prompt's progress", () => {
  it("begins at nothing", () => {
    expect(jobProgress(startProgress(graph))).toEqual({ fraction: 0, nodes_done: 0, nodes_total: 4 });
  });

  it("counts cached nodes, and each node when the next one starts", () => {
    const state = having(
      ["execution_cached", { nodes: ["1"] }],
      ["executing", { node: "3" }],
      ["executing", { node: "8" }],
    );
    expect(jobProgress(state)).toMatchObject({ nodes_done: 2, node_id: "8", class_type: "VAEDecode" });
  });

  it("weighs a sampler's steps most", () => {
    const state = having(["executing", { node: "3" }], ["progress", { node: "3", value: 10, max: 20 }]);
    expect(jobProgress(state)).toEqual({
      fraction: 0.3846,
      node_id: "3",
      class_type: "KSampler",
      step: 10,
      steps: 20,
      nodes_done: 0,
      nodes_total: 4,
    });
  });

  it("is the same from the newer progress_state", () => {
    const nodes = {
      "1": { value: 1, max: 1, state: "finished", node_id: "1" },
      "3": { value: 5, max: 20, state: "running", node_id: "3" },
    };
    expect(jobProgress(having(["progress_state", { nodes }]))).toMatchObject({
      nodes_done: 1,
      step: 5,
      steps: 20,
      node_id: "3",
    });
  });

  it("never goes back and never reaches 1", () => {
    const all = ["1", "3", "8", "9"];
    const state = having(
      ["execution_cached", { nodes: all }],
      ["progress_state", { nodes: { "3": { value: 0, max: 20, state: "running" } } }],
    );
    expect(jobProgress(state).fraction).toBe(0.99);
  });

  it("leaves out nodes that are not of the graph, and numbers that are none", () => {
    const state = having(
      ["executed", { node: "3.0.0.1", output: null }],
      ["execution_cached", { nodes: ["77", 5] }],
      ["progress", { node: "3", value: Number.NaN, max: Number.NaN }],
      ["progress_state", { nodes: { "3": null } }],
    );
    expect(jobProgress(state)).toEqual({
      fraction: 0,
      node_id: "3",
      class_type: "KSampler",
      nodes_done: 0,
      nodes_total: 4,
    });
  });

  it("does not change with frames that say nothing new", () => {
    const state = having(["executing", { node: "3" }]);
    expect(trackProgress(state, "executing", { node: "3" })).toBe(state);
    expect(trackProgress(state, "status", {})).toBe(state);
  });
});
