/** How far a prompt is, told from the frames it sends. Pure: frames in, progress out. */
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import type { JobProgress } from "#contract/job";

/** A sampler's steps are most of a run; a node that samples counts for this many others. */
const SAMPLER_WEIGHT = 10;
/** Saving and uploading come after the last node, so the fraction stays below 1 until the job has ended. */
const FRACTION_MAX = 0.99;

export interface ProgressState {
  readonly classes: ReadonlyMap<string, string>;
  readonly done: ReadonlySet<string>;
  /** Of the node that runs. */
  readonly current: string | null;
  readonly step: number | null;
  readonly steps: number | null;
  readonly fraction: number;
}

/** @param graph API format: node id → class and inputs */
export function startProgress(graph: JsonObject): ProgressState {
  const classes = new Map<string, string>();
  for (const [id, node] of Object.entries(graph)) {
    const type = isJsonObject(node) ? node.class_type : undefined;
    classes.set(id, typeof type === "string" ? type : "");
  }
  return { classes, done: new Set(), current: null, step: null, steps: null, fraction: 0 };
}

/** @returns the same object when the frame changes nothing */
export function trackProgress(state: ProgressState, type: string, data: JsonObject): ProgressState {
  switch (type) {
    case "execution_cached":
      return withFraction({ ...state, done: withAll(state, Array.isArray(data.nodes) ? data.nodes : []) });
    case "executing": {
      const node = data.node;
      if (typeof node !== "string" || node === state.current) return state;
      // Nodes run one after the other: the next one starts when the last one is done.
      const done = state.current === null ? state.done : withAll(state, [state.current]);
      return withFraction({ ...state, done, current: node, step: null, steps: null });
    }
    case "executed":
      return typeof data.node === "string" ? withFraction({ ...state, done: withAll(state, [data.node]) }) : state;
    case "progress": {
      const node = typeof data.node === "string" ? data.node : state.current;
      return withSteps(state, node, data.value, data.max);
    }
    case "progress_state":
      return fromNodes(state, isJsonObject(data.nodes) ? data.nodes : {});
    default:
      return state;
  }
}

function fromNodes(state: ProgressState, nodes: JsonObject): ProgressState {
  const entries = Object.entries(nodes).filter((entry): entry is [string, JsonObject] => isJsonObject(entry[1]));
  const finished = entries.filter(([, node]) => node.state === "finished").map(([id]) => id);
  const next = { ...state, done: withAll(state, finished) };
  const running = entries.findLast(([, node]) => node.state === "running");
  if (running === undefined) return withFraction(next);
  return withSteps(next, running[0], running[1].value, running[1].max);
}

function withSteps(state: ProgressState, node: string | null, value: Json | undefined, max: Json | undefined) {
  const step = typeof value === "number" && value >= 0 ? Math.floor(value) : null;
  const steps = typeof max === "number" && max > 1 ? Math.floor(max) : null;
  const known = step !== null && steps !== null;
  return withFraction({
    ...state,
    current: node,
    step: known ? Math.min(step, steps) : null,
    steps: known ? steps : null,
  });
}

/** Only nodes of the graph count: a node may expand into others while it runs. */
function withAll(state: ProgressState, ids: readonly Json[]): ReadonlySet<string> {
  const known = ids.filter((id): id is string => typeof id === "string" && state.classes.has(id));
  return known.every((id) => state.done.has(id)) ? state.done : new Set([...state.done, ...known]);
}

function withFraction(state: ProgressState): ProgressState {
  let total = 0;
  let finished = 0;
  for (const [id, type] of state.classes) {
    const weight = /sampler/i.test(type) ? SAMPLER_WEIGHT : 1;
    total += weight;
    if (state.done.has(id)) finished += weight;
    else if (id === state.current && state.step !== null && state.steps !== null) {
      finished += (weight * state.step) / state.steps;
    }
  }
  const fraction = total === 0 ? 0 : Math.min(FRACTION_MAX, finished / total);
  // It never goes back: a late frame must not make a bar jump.
  return { ...state, fraction: Math.max(state.fraction, fraction) };
}

export function jobProgress(state: ProgressState): JobProgress {
  const classType = state.current === null ? undefined : state.classes.get(state.current);
  return {
    fraction: Math.round(state.fraction * 10_000) / 10_000,
    ...(state.current === null ? {} : { node_id: state.current }),
    ...(classType === undefined || classType === "" ? {} : { class_type: classType }),
    ...(state.step === null || state.steps === null ? {} : { step: state.step, steps: state.steps }),
    nodes_done: state.done.size,
    nodes_total: state.classes.size,
  };
}
