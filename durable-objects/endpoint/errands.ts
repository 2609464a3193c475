/** Errands: which idle replica tries a release before it takes another one's place, and what comes of the try. */
import type { ReplicaPoll, ReplicaReport, VerificationReport } from "#contract/agent";
import type { ReplicaId } from "#contract/ids";
import { capacityOf } from "#durable-objects/endpoint/demand";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { tellRelease } from "#durable-objects/endpoint/telling";
import {
  begun,
  type Card,
  ERRAND_PATIENCE_MS,
  ERRAND_SILENCE_MS,
  freshTrial,
  isSettled,
  proven,
  refuted,
  returned,
  type Trial,
  trialOn,
} from "#durable-objects/replicas/release-gate";
import { isOver, type ReplicaRecord } from "#durable-objects/replicas/replica-record";

/** The release that is to be tried now; null: none is. */
export function targetOf(state: EndpointState): number | null {
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
  writeLog(
    state,
    release,
    `A replica begins to try release ${release} on ${nameOf(trial.card)}.`,
    now,
    trial,
    replica.id,
  );
  state.presence.used(replica.id, now);
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

/**
 * An agent says how its errand goes.
 * @returns the number of the line of its log that is wanted next; null when it is not on that errand, or not any more
 */
export function noteReport(
  state: EndpointState,
  replica: ReplicaRecord,
  message: VerificationReport,
  now: number,
): number | null {
  const { release } = message;
  state.presence.used(replica.id, now);
  const trial = state.releases
    .underWay()
    .find(({ errand, replicaId }) => errand === message.errand && replicaId === replica.id);
  if (trial === undefined || trial.release !== release) {
    // The errand was given to somebody else meanwhile, or has ended; that it has run here is true all the same.
    if (message.state === "ready") prove(state, replica, release, now);
    return null;
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
      writeLog(
        state,
        release,
        `Release ${release} cannot run on ${nameOf(trial.card)}: ${error}`,
        now,
        trial,
        replica.id,
      );
      // Of one that is waited for, the end of the wish is told.
      if (releases.wish?.release !== release) tellRelease(state, release, { card: trial.card, error }, now);
    } else giveUp(state, heard, error, now);
  } else {
    // A late report does not take it back to what it was at before.
    const stands = trial.state === "verifying" ? "verifying" : message.state;
    releases.put({ ...heard, state: stands });
    if (stands !== trial.state) state.effect({ type: "release_changed" });
  }
  return heard.logNext;
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
    writeLog(state, release, `Release ${release} has run on ${nameOf(gpuType)}.`, now, before, id);
  }
  if (release === config?.release && releases.marks(release).readyAt === null) {
    releases.mark(release, { readyAt: now });
    tellRelease(state, release, null, now);
  }
}

/** Takes errands back from who is gone. */
export function takeErrandsBack(state: EndpointState, now: number): void {
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
export function silentAt({ wokeAt }: EndpointState, { heardAt }: Trial): number {
  return Math.max(heardAt ?? 0, wokeAt) + ERRAND_SILENCE_MS;
}

/** Starts that have shown that a release runs count once the pod has said on which card it was. */
export function noteProvenStarts(state: EndpointState, now: number): void {
  for (const [id, release] of state.provenStarts) {
    const replica = state.replicas.get(id);
    if (replica !== null && replica.gpuType === undefined) continue;
    state.provenStarts.delete(id);
    if (replica !== null) prove(state, replica, release, now);
  }
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
  writeLog(state, trial.release, `The try ended without a result: ${reason} ${next}`, now, trial, trial.replicaId);
}

/** Writes a line into the release's log. */
export function writeLog(
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
