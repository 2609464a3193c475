/** The deploy gate in the object: which release waits to take its place, on which cards it has to run, and what came of it. */
import type { VerificationReport, VerificationReportAnswer } from "#contract/agent";
import type { NewCanary } from "#contract/canary";
import type { PodId } from "#contract/ids";
import { capacityOf } from "#durable-objects/endpoint/demand";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import {
  nameOf,
  noteProvenStarts,
  noteReport,
  silentAt,
  takeErrandsBack,
  targetOf,
  writeLog,
} from "#durable-objects/endpoint/errands";
import type { ReleaseWish, WishCause } from "#durable-objects/endpoint/release-store";
import type { Reply } from "#durable-objects/endpoint/rpc";
import { tellRelease } from "#durable-objects/endpoint/telling";
import { retryDelayMs } from "#durable-objects/queue/retry";
import {
  type Card,
  decide,
  failureOn,
  freshTrial,
  isReadyOn,
  isSettled,
  openCards,
} from "#durable-objects/replicas/release-gate";
import type { ReplicaRecord } from "#durable-objects/replicas/replica-record";
import { chance } from "#durable-objects/sql/database";

/** While a release waits, the pods are asked this often which cards are online: one may have joined or gone. */
const CARDS_REFRESH_MS = 5_000;
/** Until the catalog is told again after it did not answer; further tries back off. */
const CATALOG_RETRY_MS = 1_000;

/** What the Worker asks for. */
export interface WishRequest {
  readonly release: number;
  /** The active release as the catalog has it. */
  readonly replaces: number;
  readonly cause: WishCause;
  readonly canary: NewCanary | null;
  readonly force: boolean;
}

/**
 * `active`: it is the active one. `now`: the catalog may make it so at once. `waits`: the object does, when it is ready.
 * `again`: the catalog and the object differ over which release is active.
 */
export type WishDecision = "active" | "now" | "waits" | "again";

/** Somebody wants another release to be the active one, or to get a canary. The last wish counts. */
export function wishRelease(
  state: EndpointState,
  { release, replaces, cause, canary, force }: WishRequest,
  now: number,
): Reply<{ decision: WishDecision }> {
  const { releases, config } = state;
  if (config === null || replaces !== config.release) return { ok: true, decision: "again" };
  // What gets a part of the jobs already is not held back for another part.
  const isAtWork = canary !== null && config.canary?.release === release;
  const isReady = isAtWork || isReadyNow(state, release);
  const isActiveProven = releases.marks(replaces).readyAt !== null;
  const decision = decide({ release, active: replaces, force, isActiveProven, isReady });
  const before = releases.wish;
  if (decision !== "waits") {
    if (before !== null) end(state, before, `Release ${before.release} is not waited for any more.`, now);
    if (force && !isReady) {
      releases.mark(release, { forcedAt: now });
      writeLog(state, release, `Release ${release} is used before it is ready, as it was asked for by force.`, now);
    }
    return { ok: true, decision };
  }
  const same =
    before !== null &&
    before.release === release &&
    before.replaces === replaces &&
    JSON.stringify(before.canary) === JSON.stringify(canary);
  if (same) return { ok: true, decision };
  if (before !== null && before.release !== release) {
    end(state, before, `Release ${release} was asked for instead.`, now);
  }
  // Who asks again wants it to be tried again, as often as the first time.
  for (const trial of releases.trials(release)) {
    if (trial.state !== "ready" && trial.errand === null) releases.put(freshTrial(release, trial.card));
  }
  releases.wish = { release, replaces, cause, canary, since: now, dueAt: null, tries: 0 };
  const aim = canary === null ? "becomes the active one" : "gets its part of the new jobs";
  writeLog(state, release, `Release ${release} ${aim} as soon as it is ready.`, now);
  // What they said long ago is no answer to what is online now.
  state.cards.clear();
  askForCards(state, now);
  turnGate(state, now);
  return { ok: true, decision };
}

/** Whether a release may take its place without being tried. */
function isReadyNow(state: EndpointState, release: number): boolean {
  const online = onlineCards(state) ?? [];
  return state.releases.marks(release).readyAt !== null || isReadyOn(state.releases.trials(release), online);
}

/** Whether the active release has run on a GPU: then it is only replaced by one that has, too. */
export function isActiveProven(state: EndpointState): boolean {
  return state.config !== null && state.releases.marks(state.config.release).readyAt !== null;
}

/** The catalog has spoken: what was waited for may be there. */
export function gateConfigured(state: EndpointState, now: number): void {
  const { config, releases } = state;
  const { wish } = releases;
  if (config === null) return;
  if (wish !== null && isFulfilled(wish, config.release, config.canary?.release ?? null)) {
    const role = wish.canary === null ? "the active one" : "a canary";
    writeLog(state, wish.release, `Release ${wish.release} is ${role} now.`, now);
    releases.wish = null;
  }
  turnGate(state, now);
}

function isFulfilled(wish: ReleaseWish, active: number, canary: number | null): boolean {
  return wish.canary === null ? active === wish.release : canary === wish.release;
}

// --- cards -----------------------------------------------------------------------------------------------------------

/** A pod has said which cards it has online. */
export function cardsHeard(state: EndpointState, podId: PodId, cards: readonly Card[], now: number): void {
  state.cards.set(podId, cards);
  turnGate(state, now);
}

/** Types of the cards that the endpoint's pods have online; null while one of them has not said. */
export function onlineCards(state: EndpointState): Card[] | null {
  const { config } = state;
  if (config === null) return null;
  const cards = new Set<Card>();
  for (const podId of podsOf(state)) {
    const heard = state.cards.get(podId);
    if (heard === undefined) return null;
    for (const card of heard) cards.add(card);
  }
  // Who is ready is online, whatever the pod has not said yet.
  for (const { state: stands, gpuType } of capacityOf(state)) {
    if (stands === "ready" && gpuType !== undefined) cards.add(gpuType);
  }
  return [...cards].sort((a, b) => (a ?? "").localeCompare(b ?? ""));
}

function podsOf({ config }: EndpointState): readonly PodId[] {
  return config === null ? [] : config.pods.map(({ podId }) => podId);
}

function askForCards(state: EndpointState, now: number): void {
  state.cardsAskedAt = now;
  state.due(now + CARDS_REFRESH_MS);
  for (const podId of podsOf(state)) state.effect({ type: "send_demand", podId });
}

/** Cards on which a replica is wanted beside the others, because the release that waits could not be tried there. */
export function trialsWanted(state: EndpointState): Card[] {
  const { wish } = state.releases;
  const online = onlineCards(state);
  if (wish === null || wish.dueAt !== null || online === null) return [];
  const served = new Set(capacityOf(state).map(({ gpuType }) => gpuType));
  return openCards(state.releases.trials(wish.release), online).filter((card) => !served.has(card));
}

/** Replicas that the release that waits needs: one, so that an endpoint that has gone to sleep wakes up for it. */
export function verifyingNeed(state: EndpointState): number {
  const { wish } = state.releases;
  return wish !== null && wish.dueAt === null ? 1 : 0;
}

/** An agent says how its errand goes. */
export function reportVerification(
  state: EndpointState,
  replica: ReplicaRecord,
  message: VerificationReport,
  now: number,
): Reply<{ answer: VerificationReportAnswer }> {
  const { release } = message;
  const logNext = noteReport(state, replica, message, now);
  turnGate(state, now);
  if (logNext === null) {
    return { ok: true, answer: { stop: true, log_next: (message.log_from ?? 0) + (message.log?.length ?? 0) } };
  }
  const isWanted = targetOf(state) === release;
  if (!isWanted && !isSettled(message)) {
    for (const left of state.releases.underWay()) {
      if (left.errand === message.errand) state.releases.put({ ...left, state: "untried", errand: null });
    }
  }
  return { ok: true, answer: { stop: !isWanted, log_next: logNext } };
}

// --- in every turn ---------------------------------------------------------------------------------------------------

/** Does what has become possible: takes errands back from who is gone, ends the wish or fulfils it. */
export function turnGate(state: EndpointState, now: number): void {
  if (state.config === null) return;
  takeErrandsBack(state, now);
  noteProvenStarts(state, now);
  judge(state, now);
}

function judge(state: EndpointState, now: number): void {
  const { releases } = state;
  const { wish } = releases;
  const online = onlineCards(state);
  if (wish === null || wish.dueAt !== null) return;
  const trials = releases.trials(wish.release);
  // What failed since the wish was made failed on a card that is there, whatever the pods are yet to say.
  const failed = failureOn(trials, online ?? trials.map(({ card }) => card));
  if (failed !== null) {
    const stays = `Release ${wish.replaces} stays active.`;
    tellRelease(state, wish.release, failed, now);
    end(state, wish, `Release ${wish.release} cannot run on ${nameOf(failed.card)}. ${stays}`, now);
  } else if (online !== null && isReadyOn(trials, online)) {
    if (releases.marks(wish.release).readyAt === null) {
      releases.mark(wish.release, { readyAt: now });
      tellRelease(state, wish.release, null, now);
    }
    writeLog(state, wish.release, `Release ${wish.release} is ready.`, now);
    releases.wish = { ...wish, dueAt: now };
    tellCatalog(state, now);
  }
}

/** From the alarm: what is late is done again. */
export function sweepGate(state: EndpointState, now: number): void {
  turnGate(state, now);
  const { wish } = state.releases;
  if (wish === null) return;
  if (wish.dueAt !== null) {
    if (wish.dueAt <= now) tellCatalog(state, now);
  } else if (now - state.cardsAskedAt >= CARDS_REFRESH_MS) {
    askForCards(state, now);
  }
}

/** When the gate has something to do by itself. */
export function gateDue(state: EndpointState): number | null {
  const { wish } = state.releases;
  const dues = state.releases.underWay().map((trial) => silentAt(state, trial));
  if (wish !== null) dues.push(wish.dueAt ?? state.cardsAskedAt + CARDS_REFRESH_MS);
  return dues.length === 0 ? null : Math.min(...dues);
}

// --- the catalog -----------------------------------------------------------------------------------------------------

/** What the catalog is to be told: each try may be the first that it hears of. */
function tellCatalog(state: EndpointState, now: number): void {
  const { wish } = state.releases;
  if (wish === null) return;
  const tries = wish.tries + 1;
  const dueAt = now + CATALOG_RETRY_MS + retryDelayMs(tries, chance(state.world));
  state.releases.wish = { ...wish, tries, dueAt };
  state.due(dueAt);
  state.effect({ type: "activate_release" });
}

/** The wish that the catalog is to be told of now; null: none is ready. */
export function readyWish({ releases: { wish } }: EndpointState): ReleaseWish | null {
  return wish === null || wish.dueAt === null ? null : wish;
}

/** The catalog could not do it: another release has become active meanwhile, or there is no endpoint any more. */
export function wishIsVoid(state: EndpointState, told: ReleaseWish, active: number | null, now: number): void {
  const { wish } = state.releases;
  if (wish === null || wish.since !== told.since || wish.release !== told.release) return;
  const reason = active === null ? "The endpoint is gone." : `Release ${active} was made active meanwhile.`;
  end(state, wish, reason, now);
}

/** The wish is over. */
function end(state: EndpointState, { release }: ReleaseWish, reason: string, now: number): void {
  state.releases.wish = null;
  writeLog(state, release, reason, now);
}
