/** The deploy gate in the object: which release waits to take its place, who tries it on which card, and what came of it. */
import type { ReplicaPoll, ReplicaReport, VerificationReport, VerificationReportAnswer } from "#contract/agent";
import type { NewCanary } from "#contract/canary";
import type { PodId, ReplicaId } from "#contract/ids";
import { capacityOf } from "#durable-objects/endpoint/demand";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import type { ReleaseWish, WishCause } from "#durable-objects/endpoint/release-store";
import type { Reply } from "#durable-objects/endpoint/rpc";
import { tellRelease } from "#durable-objects/endpoint/telling";
import { retryDelayMs } from "#durable-objects/queue/retry";
import {
  begun,
  type Card,
  decide,
  ERRAND_PATIENCE_MS,
  ERRAND_SILENCE_MS,
  failureOn,
  freshTrial,
  isReadyOn,
  isSettled,
  openCards,
  proven,
  refuted,
  returned,
  type Trial,
  trialOn,
} from "#durable-objects/replicas/release-gate";
import { isOver, type ReplicaRecord } from "#durable-objects/replicas/replica-record";
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
      tell(state, release, `Release ${release} is used before it is ready, as it was asked for by force.`, now);
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
  tell(state, release, `Release ${release} ${aim} as soon as it is ready.`, now);
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
    tell(state, wish.release, `Release ${wish.release} is ${role} now.`, now);
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

// --- errands ---------------------------------------------------------------------------------------------------------

/** The release that is to be tried now; null: none is. */
function targetOf(state: EndpointState): number | null {
  const { config, releases } = state;
  if (config === null || config.removed) return null;
  const { wish } = releases;
  if (wish !== null) return wish.dueAt === null ? wish.release : null;
  // One that was never ready runs already: whoever is idle finds out whether it can.
  return releases.marks(config.release).readyAt === null ? config.release : null;
}

/** A replica has said with a poll whether it takes errands. */
export function notePoller(state: EndpointState, replicaId: ReplicaId, verifies: boolean): void {
  if (verifies) state.verifiers.add(replicaId);
  else state.verifiers.delete(replicaId);
}

/**
 * What becomes of an errand when its replica polls: the same poll gets it again, another one gives it up.
 * @param preparing the errand that it says to be on while it asks for jobs
 */
export function errandOfPoll(
  state: EndpointState,
  replicaId: ReplicaId,
  { poll_id: pollId, preparing }: Pick<ReplicaPoll, "poll_id" | "preparing">,
  now: number,
): number | null {
  let again: number | null = null;
  for (const trial of state.releases.underWay()) {
    if (trial.replicaId !== replicaId || trial.errand === preparing) continue;
    if (trial.errand === pollId) again = trial.release;
    else giveUp(state, trial, "The replica asked for other work without a result.", now);
  }
  return again;
}

/**
 * The errand that an idle replica gets with the answer to its poll, and takes with it.
 * @param isEmptyHanded it gets no job: nothing waits, or nothing may start
 */
export function takeErrand(
  state: EndpointState,
  replica: ReplicaRecord,
  pollId: string,
  isEmptyHanded: boolean,
  now: number,
): number | null {
  const release = targetOf(state);
  if (release === null || !mayVerify(state, replica) || replica.gpuType === undefined) return null;
  if (!isEmptyHanded && !isOverdue(state, now)) return null;
  const trial = trialOn(state.releases.trials(release), replica.gpuType) ?? freshTrial(release, replica.gpuType);
  if (trial.errand !== null || isSettled(trial)) return null;
  state.releases.put(begun(trial, pollId, replica.id, now));
  tell(state, release, `A replica begins to try release ${release} on ${nameOf(trial.card)}.`, now, trial, replica.id);
  state.used(replica.id, now);
  state.due(now + ERRAND_SILENCE_MS);
  return release;
}

function mayVerify(state: EndpointState, replica: ReplicaRecord): boolean {
  return (
    state.verifiers.has(replica.id) && replica.state === "ready" && !replica.draining && state.held(replica.id) === 0
  );
}

/** Jobs have gone before the release that waits for long enough. */
function isOverdue({ releases: { wish } }: EndpointState, now: number): boolean {
  return wish !== null && now - wish.since >= ERRAND_PATIENCE_MS;
}

/** Whether this replica gets no job now, so that it comes to the end of its work and takes the errand. One of a card does. */
export function isKeptForErrand(state: EndpointState, replicaId: ReplicaId, now: number): boolean {
  const { wish } = state.releases;
  if (wish === null || wish.dueAt !== null || !isOverdue(state, now)) return false;
  const replica = state.replicas.get(replicaId);
  if (replica === null || replica.gpuType === undefined || !state.verifiers.has(replicaId)) return false;
  const trial = trialOn(state.releases.trials(wish.release), replica.gpuType);
  if (trial !== null && (trial.errand !== null || isSettled(trial))) return false;
  const first = capacityOf(state).find(
    ({ id, gpuType, state: stands }) =>
      gpuType === replica.gpuType && stands === "ready" && state.verifiers.has(id as ReplicaId),
  );
  return first?.id === replicaId;
}

/** A replica that is on an errand is not idle. */
export function isOnErrand(state: EndpointState, replicaId: ReplicaId): boolean {
  return state.releases.underWay().some((trial) => trial.replicaId === replicaId);
}

/** An agent says how its errand goes. */
export function reportVerification(
  state: EndpointState,
  replica: ReplicaRecord,
  message: VerificationReport,
  now: number,
): Reply<{ answer: VerificationReportAnswer }> {
  const { release } = message;
  state.used(replica.id, now);
  const trial = state.releases
    .underWay()
    .find(({ errand, replicaId }) => errand === message.errand && replicaId === replica.id);
  if (trial === undefined || trial.release !== release) {
    // The errand was given to somebody else meanwhile, or has ended; that it has run here is true all the same.
    if (message.state === "ready") prove(state, replica, release, now);
    turnGate(state, now);
    return { ok: true, answer: { stop: true, log_next: (message.log_from ?? 0) + (message.log?.length ?? 0) } };
  }
  const heard: Trial = { ...trial, heardAt: now, logNext: keepLines(state, trial, message, now) };
  state.due(now + ERRAND_SILENCE_MS);
  const { releases } = state;
  if (message.state === "ready") {
    releases.put(heard);
    prove(state, replica, release, now);
  } else if (message.state === "failed") {
    const error = message.error ?? "The machine does not say why.";
    if (message.final === true) {
      releases.put(refuted(heard, error, now));
      tell(state, release, `Release ${release} cannot run on ${nameOf(trial.card)}: ${error}`, now, trial, replica.id);
      // Of one that is waited for, the end of the wish is told.
      if (releases.wish?.release !== release) tellRelease(state, release, { card: trial.card, error }, now);
    } else giveUp(state, heard, error, now);
  } else {
    // A late report does not take it back to what it was at before.
    const stands = trial.state === "verifying" ? "verifying" : message.state;
    releases.put({ ...heard, state: stands });
    if (stands !== trial.state) state.effect({ type: "release_changed" });
  }
  turnGate(state, now);
  const isWanted = targetOf(state) === release;
  if (!isWanted && !isSettled(message)) {
    for (const left of releases.underWay()) {
      if (left.errand === message.errand) releases.put({ ...left, state: "untried", errand: null });
    }
  }
  return { ok: true, answer: { stop: !isWanted, log_next: heard.logNext } };
}

/** Lines that came before are known by their numbers. @returns the number of the line that is wanted next */
function keepLines(
  state: EndpointState,
  trial: Trial,
  { log, log_from: from }: VerificationReport,
  now: number,
): number {
  if (log === undefined || from === undefined) return trial.logNext;
  const fresh = log.slice(Math.max(0, trial.logNext - from));
  if (fresh.length === 0) return trial.logNext;
  state.releases.log(trial.release, now, trial.card, trial.replicaId, fresh);
  state.effect({ type: "release_changed" });
  return Math.max(trial.logNext, from + log.length);
}

/** A replica's own start has shown that a release runs on its card. */
export function noteStart(state: EndpointState, replica: ReplicaRecord, report: ReplicaReport, now: number): void {
  if (report.proven === undefined) return;
  if (replica.gpuType === undefined) {
    state.provenStarts.set(replica.id, report.proven);
    state.effect({ type: "send_demand", podId: replica.podId });
  } else prove(state, replica, report.proven, now);
}

function prove(state: EndpointState, { id, gpuType }: ReplicaRecord, release: number, now: number): void {
  if (gpuType === undefined) return;
  const { releases, config } = state;
  const before = trialOn(releases.trials(release), gpuType) ?? freshTrial(release, gpuType);
  const isNew = before.state !== "ready";
  if (isNew) {
    releases.put(proven(before, id, now));
    tell(state, release, `Release ${release} has run on ${nameOf(gpuType)}.`, now, before, id);
  }
  if (release === config?.release && releases.marks(release).readyAt === null) {
    releases.mark(release, { readyAt: now });
    tellRelease(state, release, null, now);
  }
}

// --- in every turn ---------------------------------------------------------------------------------------------------

/** Does what has become possible: takes errands back from who is gone, ends the wish or fulfils it. */
export function turnGate(state: EndpointState, now: number): void {
  if (state.config === null) return;
  takeBack(state, now);
  noteProvenStarts(state, now);
  judge(state, now);
}

function takeBack(state: EndpointState, now: number): void {
  for (const trial of state.releases.underWay()) {
    const replica = trial.replicaId === null ? null : state.replicas.get(trial.replicaId);
    if (replica === null || isOver(replica.state)) {
      giveUp(state, trial, replica?.error ?? "The replica that tried it has ended.", now);
    } else if (replica.draining || replica.state === "draining") {
      giveUp(state, trial, "The replica that tried it is on its way out.", now);
    } else if (silentAt(state, trial) <= now) {
      giveUp(state, trial, "The replica that tried it has fallen silent.", now);
    } else state.due(silentAt(state, trial));
  }
}

/** When the replica on an errand has been silent for too long: while this object was away, it had nobody to talk to. */
function silentAt({ wokeAt }: EndpointState, { heardAt }: Trial): number {
  return Math.max(heardAt ?? 0, wokeAt) + ERRAND_SILENCE_MS;
}

function noteProvenStarts(state: EndpointState, now: number): void {
  for (const [id, release] of state.provenStarts) {
    const replica = state.replicas.get(id);
    if (replica !== null && replica.gpuType === undefined) continue;
    state.provenStarts.delete(id);
    if (replica !== null) prove(state, replica, release, now);
  }
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
    tell(state, wish.release, `Release ${wish.release} is ready.`, now);
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

// --- words -----------------------------------------------------------------------------------------------------------

function end(state: EndpointState, { release }: ReleaseWish, reason: string, now: number): void {
  state.releases.wish = null;
  tell(state, release, reason, now);
}

function giveUp(state: EndpointState, trial: Trial, reason: string, now: number): void {
  // Nobody waits for it: then it costs it no try.
  if (targetOf(state) !== trial.release) {
    state.releases.put({ ...trial, state: "untried", errand: null, error: reason });
    return;
  }
  const after = returned(trial, reason, now);
  state.releases.put(after);
  const next = after.state === "failed" ? "It is given up." : "It is tried again.";
  tell(state, trial.release, `The try ended without a result: ${reason} ${next}`, now, trial, trial.replicaId);
}

function tell(
  state: EndpointState,
  release: number,
  line: string,
  now: number,
  trial: Pick<Trial, "card"> | null = null,
  replicaId: ReplicaId | null = null,
): void {
  state.releases.log(release, now, trial?.card ?? null, replicaId, line.split("\n"));
  state.effect({ type: "release_changed" });
}

/** A type of card in words. */
export function nameOf(card: Card): string {
  return card ?? "machines without a known card";
}
