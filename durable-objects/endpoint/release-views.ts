/** How the releases stand, as callers see it. */
import type { ReleaseLogLine, ReleaseState, Verification } from "#contract/verification";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { nameOf } from "#durable-objects/endpoint/errands";
import { isActiveProven, onlineCards } from "#durable-objects/endpoint/release-gate";
import type { ReleaseWish, StoredLogLine } from "#durable-objects/endpoint/release-store";
import type { GateView, ReleaseLogReply, ReleaseStanding } from "#durable-objects/endpoint/rpc";
import { freshTrial, isSettled, openCards, releaseState, type Trial } from "#durable-objects/replicas/release-gate";

/** Lines in one answer: with a thousand characters each, well below what a message takes. */
const LOG_LINES_PER_PAGE = 500;

/** The gate, and how the named releases stand. */
export function gateView(state: EndpointState, releases: readonly number[]): GateView {
  const { wish } = state.releases;
  return {
    isActiveProven: isActiveProven(state),
    pending: wish === null ? null : pendingView(state, wish),
    releases: releases.map((release) => standingOf(state, release)),
  };
}

export function standingOf(state: EndpointState, release: number): ReleaseStanding {
  const trials = state.releases.trials(release);
  const isPending = state.releases.wish?.release === release;
  const online = onlineCards(state) ?? [];
  // A card that is online and not tried shows what the release still waits for.
  const untried = isPending
    ? openCards(trials, online).filter((card) => !trials.some((trial) => trial.card === card))
    : [];
  return {
    release,
    state: stateOf(state, release),
    forced: state.releases.marks(release).forcedAt !== null,
    verification: [...trials, ...untried.map((card) => freshTrial(release, card))].map(verificationView),
  };
}

function stateOf(state: EndpointState, release: number): ReleaseState {
  return releaseState(state.releases.trials(release), onlineCards(state) ?? [], {
    isAwaited: state.releases.wish?.release === release || state.config?.release === release,
    wasReady: state.releases.marks(release).readyAt !== null,
  });
}

function verificationView(trial: Trial): Verification {
  return {
    gpu_type: trial.card,
    state: trial.state,
    replica_id: trial.replicaId,
    error: trial.error,
    started_at: isoOrNull(trial.startedAt),
    finished_at: isoOrNull(trial.finishedAt),
  };
}

function pendingView(state: EndpointState, wish: ReleaseWish): NonNullable<GateView["pending"]> {
  const { verification } = standingOf(state, wish.release);
  return {
    release: wish.release,
    canary: wish.canary,
    state: stateOf(state, wish.release),
    since: new Date(wish.since).toISOString(),
    ...waitsFor(state, wish),
    verification: [...verification],
  };
}

function waitsFor(
  state: EndpointState,
  wish: ReleaseWish,
): { waits_for: "node" | "replica" | "verification" | "activation"; reason: string } {
  const trials = state.releases.trials(wish.release);
  if (wish.dueAt !== null) return { waits_for: "activation", reason: "It is ready, and is about to take its place." };
  const online = onlineCards(state);
  if (online?.length === 0) {
    return { waits_for: "node", reason: "no_node_online: no machine of the endpoint's pods is online." };
  }
  const busy = trials.find(({ errand }) => errand !== null);
  if (busy !== undefined) {
    return { waits_for: "verification", reason: `${busy.replicaId} tries it on ${nameOf(busy.card)}.` };
  }
  const cards = openCards(trials, online ?? [])
    .map(nameOf)
    .join(", ");
  const on = cards === "" ? "" : ` on ${cards}`;
  return { waits_for: "replica", reason: `It waits for a replica${on} that can try it.` };
}

/** Lines of the release's log after the line `after`. */
export function releaseLog(state: EndpointState, release: number, after: number): ReleaseLogReply {
  const lines = state.releases.logOf(release, after, LOG_LINES_PER_PAGE);
  const now = stateOf(state, release);
  const isAwaited = state.releases.wish?.release === release;
  const isUnderWay = state.releases.trials(release).some(({ errand }) => errand !== null);
  return {
    lines: lines.map(lineView),
    state: now,
    ended:
      lines.length < LOG_LINES_PER_PAGE &&
      !isAwaited &&
      !isUnderWay &&
      (isSettled({ state: now }) || now === "untried"),
  };
}

function lineView({ n, at, card, replicaId, text }: StoredLogLine): ReleaseLogLine {
  return { n, at: new Date(at).toISOString(), gpu_type: card, replica_id: replicaId, text };
}

function isoOrNull(at: number | null): string | null {
  return at === null ? null : new Date(at).toISOString();
}
