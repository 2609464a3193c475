/** What is to be done outside for a workspace's models, and what of it can be started now. */
import { failModel } from "#durable-objects/models/model-life";
import type { LitterRecord, ModelRecord, PartRecord } from "#durable-objects/models/model-store";
import type { ModelsState } from "#durable-objects/models/models-state";

/** One thing to do outside. Its outcome is told to the core under the model's id and attempt. */
export type ModelWork =
  /** Ask an import's source how large its file is and whether it sends ranges. */
  | { readonly type: "probe"; readonly model: ModelRecord; readonly source: string }
  /** Begin R2's upload in parts. */
  | { readonly type: "open"; readonly model: ModelRecord }
  /** Fetch one part. */
  | { readonly type: "part"; readonly model: ModelRecord; readonly source: string; readonly part: PartPlan }
  /** Fetch all of a file whose server sends no ranges. */
  | { readonly type: "stream"; readonly model: ModelRecord; readonly source: string }
  | { readonly type: "join"; readonly model: ModelRecord; readonly parts: readonly PartRecord[] }
  | { readonly type: "verify"; readonly model: ModelRecord }
  | { readonly type: "sweep"; readonly litter: readonly LitterRecord[] };

export interface PartPlan {
  readonly uploadId: string;
  /** From 1. */
  readonly number: number;
  readonly offset: number;
  readonly size: number;
}

/** Six connections may be open at once, and each part takes two: one from its source, one into the store. */
const PARTS_AT_ONCE = 3;
/** Models looked at in one turn, so that none waits behind another that waits for its source. */
const LOOK_MAX = 20;
const SWEEP_MAX = 100;

/** Names a piece of work, so that it is not begun twice. */
export function workName(work: ModelWork): string {
  if (work.type === "sweep") return "sweep";
  const name = `${work.type} ${work.model.id} ${work.model.attempt}`;
  return work.type === "part" ? `${name} ${work.part.number}` : name;
}

/**
 * What can be started now. Uploads that nobody goes on with end here.
 * @param running names of the work under way, by {@link workName}
 */
export function nextWork(state: ModelsState, running: ReadonlySet<string>): ModelWork[] {
  if (state.workspaceId === null) return [];
  const now = state.now();
  const found: ModelWork[] = [];
  let room = PARTS_AT_ONCE - [...running].filter((name) => /^(part|stream) /.test(name)).length;
  for (const model of state.models.due(now, LOOK_MAX)) {
    if (model.status === "uploading") {
      state.transaction(() => failModel(state, model, "No part of it came for three days, so its upload was ended."));
      continue;
    }
    for (const work of workOf(state, model)) {
      if (running.has(workName(work))) continue;
      const isTransfer = work.type === "part" || work.type === "stream";
      if (isTransfer && room <= 0) break;
      // One check at a time: each takes a processor for as long as it lasts.
      const isSecondCheck = work.type === "verify" && [...running, ...found.map(workName)].some(isCheck);
      if (isSecondCheck) continue;
      if (isTransfer) room -= 1;
      found.push(work);
    }
  }
  const litter = running.has("sweep") ? [] : state.models.litter(now, SWEEP_MAX);
  return litter.length === 0 ? found : [...found, { type: "sweep", litter }];
}

function workOf(state: ModelsState, model: ModelRecord): ModelWork[] {
  if (model.status === "verifying") return [{ type: "verify", model }];
  const { source, uploadId, size } = model;
  if (model.status !== "importing" || source === null) return [];
  if (model.ranged === null) return [{ type: "probe", model, source }];
  if (uploadId === null) return [{ type: "open", model }];
  const parts = state.models.parts(model.id);
  const storedBytes = parts.reduce((sum, part) => sum + part.size, 0);
  if (size !== null && storedBytes === size) return [{ type: "join", model, parts }];
  if (!model.ranged || size === null) return [{ type: "stream", model, source }];
  return missingParts(size, model.partBytes, parts)
    .slice(0, 2 * PARTS_AT_ONCE)
    .map((number) => {
      const offset = (number - 1) * model.partBytes;
      const part = { uploadId, number, offset, size: Math.min(model.partBytes, size - offset) };
      return { type: "part", model, source, part };
    });
}

/** Parts of a file of so many bytes. */
export function partCount(size: number, partBytes: number): number {
  return Math.ceil(size / partBytes);
}

/** Numbers of the parts that are not there yet, in their order, from 1. */
export function missingParts(size: number, partBytes: number, parts: readonly PartRecord[]): number[] {
  const there = new Set(parts.map(({ number }) => number));
  const all = Array.from({ length: partCount(size, partBytes) }, (_, index) => index + 1);
  return all.filter((number) => !there.has(number));
}

const isCheck = (name: string): boolean => name.startsWith("verify ");
