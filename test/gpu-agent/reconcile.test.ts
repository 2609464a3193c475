import { describe, expect, it } from "vitest";
import type { HeldReplica, WantedReplica } from "#contract/agent";
import { EndpointId, makeId, ReplicaId } from "#contract/ids";
import { reconcile } from "#gpu-agent/reconcile";

const zeros = (length: number) => new Uint8Array(length);
const endpoint_id = makeId(EndpointId, "ep", 0, zeros);
const id = (number: number) => makeId(ReplicaId, "rep", number, zeros);
const held = (number: number, slot: number, state: HeldReplica["state"] = "ready"): HeldReplica => ({
  replica_id: id(number),
  slot,
  state,
});
const wanted = (number: number, slot: number, action: WantedReplica["action"] = "run"): WantedReplica => ({
  replica_id: id(number),
  slot,
  endpoint_id,
  action,
});

describe("what a node has to do", () => {
  it("is nothing when it runs what is wanted", () => {
    expect(reconcile([held(1, 0), held(2, 1, "busy")], [wanted(1, 0), wanted(2, 1)], 2)).toEqual({
      start: [],
      drain: [],
      forget: [],
    });
  });

  it("is to start what it lacks, on the slots it has", () => {
    const all = [wanted(1, 0), wanted(2, 1), wanted(3, 2)];
    expect(reconcile([held(1, 0)], all, 2).start).toEqual([wanted(2, 1)]);
  });

  it("is to wait for a slot that another one still holds", () => {
    const changes = reconcile([held(1, 0)], [wanted(2, 0)], 1);
    expect(changes).toEqual({ start: [], drain: [id(1)], forget: [] });
    expect(reconcile([held(1, 0, "draining")], [wanted(2, 0)], 1)).toEqual({ start: [], drain: [], forget: [] });
    expect(reconcile([held(1, 0, "stopped")], [wanted(2, 0)], 1)).toEqual({
      start: [wanted(2, 0)],
      drain: [],
      forget: [id(1)],
    });
  });

  it("is to drain what is not wanted, and what is to drain, once", () => {
    expect(reconcile([held(1, 0), held(2, 1, "booting")], [wanted(1, 0, "drain")], 2).drain).toEqual([id(1), id(2)]);
  });

  it("never starts again what has ended: that is the pod's decision", () => {
    expect(reconcile([held(1, 0, "crashed")], [wanted(1, 0)], 1)).toEqual({ start: [], drain: [], forget: [] });
  });

  it("never starts two on one slot", () => {
    expect(reconcile([], [wanted(1, 0), wanted(2, 0)], 1).start).toEqual([wanted(1, 0)]);
  });
});
