/** The deploy gate as callers see it: whether a release has run on the cards that it is to run on, and what waits for that. */
import * as z from "zod";
import { NewCanary } from "#contract/canary";
import { ReplicaId } from "#contract/ids";
import { GpuTypeName } from "#contract/replica";

/**
 * How far a release is. `untried`: nobody has asked for it yet. `building`: a machine makes what it needs. `verifying`: it
 * is about to run, or runs, for the first time. `ready`: it has run. `failed`: it cannot run; the old release stays.
 */
export const ReleaseState = z.enum(["untried", "building", "verifying", "ready", "failed"]);
export type ReleaseState = z.infer<typeof ReleaseState>;

/** One type of card on which a release is, or was, tried. */
export const Verification = z
  .object({
    gpu_type: GpuTypeName.nullable().meta({ description: "null: no card, or one the table does not know" }),
    state: ReleaseState.meta({ description: "untried: it waits for a replica on such a card" }),
    replica_id: ReplicaId.nullable().meta({ description: "Who tries it, or tried it last" }),
    error: z.string().nullable().meta({ description: "Why it failed, or why the last try ended without a result" }),
    started_at: z.iso.datetime().nullable(),
    finished_at: z.iso.datetime().nullable(),
  })
  .meta({ id: "Verification" });
export type Verification = z.infer<typeof Verification>;

/** A release that becomes the active one, or gets its canary, by itself: as soon as it is ready. */
export const PendingActivation = z
  .object({
    release: z.int().positive(),
    canary: NewCanary.nullable().meta({ description: "It gets a part of the new jobs; null: it becomes active" }),
    state: ReleaseState,
    since: z.iso.datetime(),
    waits_for: z.enum(["node", "replica", "verification", "activation"]).meta({
      description:
        "node: no node of the endpoint's pods is online. replica: a card has no replica that could try it. verification: it is being tried. activation: it is ready, and is being written down",
    }),
    reason: z.string().meta({ description: "The same in words: no_node_online, or who tries it where" }),
    verification: z.array(Verification),
  })
  .meta({ id: "PendingActivation" });
export type PendingActivation = z.infer<typeof PendingActivation>;

/** Body of the calls that change which release runs, beside what else they take. */
export const Force = z.boolean().meta({
  description: "true: at once, whether or not the release has run on a GPU; the release says so",
});

/** One line of a release's log: what its verification did, as its machines and the endpoint tell it. */
export const ReleaseLogLine = z
  .object({
    n: z.int().positive().meta({ description: "Its number; the numbers of a release's lines grow" }),
    at: z.iso.datetime(),
    gpu_type: GpuTypeName.nullable(),
    replica_id: ReplicaId.nullable().meta({ description: "null: said by the endpoint itself" }),
    text: z.string(),
  })
  .meta({ id: "ReleaseLogLine" });
export type ReleaseLogLine = z.infer<typeof ReleaseLogLine>;
