/** The replicas and queues of one replay: what a policy sees and the few things it may do. */
import type { Arrivals } from "./arrivals.ts";
import { EventHeap } from "./event-heap.ts";
import { CountedWaits, type ReplayResult, type WaitFigures } from "./figures.ts";
import { BATCH_JOINS_BEFORE_S, type ReplayOptions } from "./options.ts";
import { seededChance } from "./seeded-chance.ts";

/** Hears of every single event, in order; `slot` names a replica until it stops. */
export interface FleetListener {
  onArrived?(job: number, fleet: Fleet): void;
  onStarted?(job: number, slot: number, cold: boolean, fleet: Fleet): void;
  onFinished?(job: number, slot: number, fleet: Fleet): void;
  onBooted?(slot: number, fleet: Fleet): void;
  /**
   * Idle replicas that batch jobs leave free now, and when they leave fewer by time alone, in seconds: Infinity, never.
   * Asked while a batch job could begin; without it they leave none.
   */
  keptFree?(fleet: Fleet): { readonly replicas: number; readonly fewerAtS: number };
}

const REPLICAS_MAX = 64;
/** What the heap says of an event: the slot, and a count that tells a replica from a later one in the same slot. */
const SLOTS_PER_GENERATION = 65_536;

export class Fleet {
  /** Seconds from the start. */
  nowS = 0;
  /** Replicas by what they do. */
  busy = 0;
  idle = 0;
  booting = 0;
  readonly replicasMax: number;
  /** Replicas below which the rules of other systems do not go. */
  readonly floor: number;
  readonly #arrivals: Arrivals;
  readonly #options: ReplayOptions;
  readonly #listener: FleetListener | undefined;
  readonly #heap = new EventHeap();
  readonly #chance: () => number;
  readonly #batchIndexes: Int32Array;
  readonly #interactiveIndexes: Int32Array;
  /** Of the lists of indexes above: how many have arrived, have joined the interactive queue, have started. */
  #interactiveArrived = 0;
  #interactiveStarted = 0;
  #batchArrived = 0;
  #batchJoined = 0;
  #batchStarted = 0;
  readonly #waitsS: Float64Array;
  readonly #cold: Uint8Array;
  /** By slot. */
  readonly #launchedS: Float64Array;
  readonly #sinceS: Float64Array;
  readonly #startedS: Float64Array;
  readonly #jobOf: Int32Array;
  readonly #generation: Float64Array;
  readonly #fresh: Uint8Array;
  readonly #freeSlots: number[] = [];
  /** Slots: idle ones with the longest idle first, booting ones in the order of their launch. */
  readonly #idleSlots: number[] = [];
  readonly #bootingSlots: number[] = [];
  readonly #busySlots = new Set<number>();
  /** Of the busy ones: those at batch jobs that have not joined the interactive ones. */
  readonly #batchSlots = new Set<number>();
  #fewerKeptAtS = Number.POSITIVE_INFINITY;
  #lookAtS = Number.POSITIVE_INFINITY;
  #launches = 0;
  #gpuSeconds = 0;
  #bootSeconds = 0;
  #busySeconds = 0;
  #peak = 0;
  /** When a job ended last, and when a replica stopped last; 0 before. */
  #lastEndS = 0;
  #lastStopS = 0;
  #isClosed = false;
  readonly #timeline: [number, number][] = [];

  constructor(arrivals: Arrivals, options: ReplayOptions, listener: FleetListener | undefined) {
    this.#arrivals = arrivals;
    this.#options = options;
    this.#listener = listener;
    this.replicasMax = options.replicasMax ?? REPLICAS_MAX;
    if (this.replicasMax > SLOTS_PER_GENERATION) throw new RangeError(`replicasMax: at most ${SLOTS_PER_GENERATION}`);
    this.floor = options.floor ?? 0;
    this.#chance = seededChance(options.seed ?? 1);
    const jobs = arrivals.atS.length;
    this.#waitsS = new Float64Array(jobs);
    this.#cold = new Uint8Array(jobs);
    const waitsApart = (job: number) => options.hasLanes !== false && this.isBatch(job);
    this.#interactiveIndexes = this.#jobsThat((job) => !waitsApart(job));
    this.#batchIndexes = this.#jobsThat(waitsApart);
    this.#launchedS = new Float64Array(this.replicasMax);
    this.#sinceS = new Float64Array(this.replicasMax);
    this.#startedS = new Float64Array(this.replicasMax);
    this.#jobOf = new Int32Array(this.replicasMax).fill(-1);
    this.#generation = new Float64Array(this.replicasMax);
    this.#fresh = new Uint8Array(this.replicasMax);
    for (let slot = this.replicasMax - 1; slot >= 0; slot--) this.#freeSlots.push(slot);
    this.#warmUp(options.warm ?? 0);
  }

  get replicas(): number {
    return this.busy + this.idle + this.booting;
  }

  /** Interactive jobs waiting, with the batch jobs that have joined them. */
  get waiting(): number {
    return this.#interactiveArrived - this.#interactiveStarted + Math.max(0, this.#batchJoined - this.#batchStarted);
  }

  /** Batch jobs waiting that have not joined the interactive queue. */
  get batchWaiting(): number {
    return this.#batchArrived - Math.max(this.#batchStarted, this.#batchJoined);
  }

  /** When the nth waiting interactive job (0: the oldest) arrived, or joined; NaN where there is none. */
  waitingSinceS(position: number): number {
    if (this.#batchJoined <= this.#batchStarted) return this.#interactiveAtS(position);
    let joined = 0;
    for (let place = 0; ; place += 1) {
      const interactiveS = this.#interactiveAtS(place - joined);
      const joinedS = this.#joinedAtS(joined);
      const isJoined = Number.isNaN(interactiveS) || joinedS < interactiveS;
      if (place === position) return isJoined ? joinedS : interactiveS;
      if (isJoined) joined += 1;
    }
  }

  /** When the nth waiting interactive job arrived, and the nth batch job joined that has; NaN where there is none. */
  #interactiveAtS(position: number): number {
    const at = this.#interactiveStarted + position;
    const index = at < this.#interactiveArrived ? this.#interactiveIndexes[at] : undefined;
    return index === undefined ? Number.NaN : (this.#arrivals.atS[index] ?? Number.NaN);
  }

  #joinedAtS(position: number): number {
    const at = this.#batchStarted + position;
    const index = at < this.#batchJoined ? this.#batchIndexes[at] : undefined;
    return index === undefined ? Number.NaN : this.#joinsAtS(index);
  }

  /** Whether batch jobs have a queue of their own, and there are any. */
  get hasBatchLane(): boolean {
    return this.#batchIndexes.length > 0;
  }

  /** Jobs at work: interactive ones with the batch jobs that had joined them, and other batch jobs. */
  get interactiveBusy(): number {
    return this.busy - this.#batchSlots.size;
  }

  get batchBusy(): number {
    return this.#batchSlots.size;
  }

  /** Whether a slot's replica works on a batch job that had not joined the interactive ones. */
  isAtBatch(slot: number): boolean {
    return this.#batchSlots.has(slot);
  }

  /** When the oldest waiting batch job that has not joined arrived; NaN when none waits. */
  get batchOldestAtS(): number {
    if (this.batchWaiting === 0) return Number.NaN;
    const index = this.#batchIndexes[Math.max(this.#batchStarted, this.#batchJoined)];
    return index === undefined ? Number.NaN : (this.#arrivals.atS[index] ?? Number.NaN);
  }

  /** Slots of the idle replicas, the longest idle first; and of the booting ones, the longest booting first. */
  get idleSlots(): readonly number[] {
    return this.#idleSlots;
  }

  get bootingSlots(): readonly number[] {
    return this.#bootingSlots;
  }

  get busySlots(): ReadonlySet<number> {
    return this.#busySlots;
  }

  /** Since when a slot's replica has been in its state. */
  sinceS(slot: number): number {
    return this.#sinceS[slot] ?? Number.NaN;
  }

  /** When the job that a slot's replica runs, or has just finished, was started. */
  startedS(slot: number): number {
    return this.#startedS[slot] ?? Number.NaN;
  }

  launchedS(slot: number): number {
    return this.#launchedS[slot] ?? Number.NaN;
  }

  /** The arrival that a busy slot works on; -1 where it is not busy. */
  jobOf(slot: number): number {
    return this.#jobOf[slot] ?? -1;
  }

  arrivedS(job: number): number {
    return this.#arrivals.atS[job] ?? Number.NaN;
  }

  isBatch(job: number): boolean {
    return this.#arrivals.batch?.[job] === 1;
  }

  /** Which replica of those that ever had this slot. */
  generation(slot: number): number {
    return this.#generation[slot] ?? 0;
  }

  /** When a job ended last; 0 before. */
  get lastEndS(): number {
    return this.#lastEndS;
  }

  /** From now on nothing is launched: it would be for jobs that come after those of the trace. */
  close(): void {
    this.#isClosed = true;
  }

  /** Launches so many replicas, as far as replicasMax allows. */
  launch(count: number): void {
    if (this.#isClosed) return;
    for (let launched = 0; launched < count; launched++) {
      const slot = this.#freeSlots.pop();
      if (slot === undefined) return;
      this.#launches += 1;
      this.booting += 1;
      this.#bootingSlots.push(slot);
      this.#launchedS[slot] = this.nowS;
      this.#sinceS[slot] = this.nowS;
      this.#fresh[slot] = 1;
      this.#heap.put(this.nowS + this.#bootTimeS(), this.#payload(slot));
      this.#countReplicas();
    }
  }

  /**
   * Stops a replica that is idle or still booting.
   * @throws RangeError when that slot is busy or holds no replica
   */
  stop(slot: number): void {
    const idleAt = this.#idleSlots.indexOf(slot);
    const bootingAt = idleAt < 0 ? this.#bootingSlots.indexOf(slot) : -1;
    if (idleAt >= 0) {
      this.#idleSlots.splice(idleAt, 1);
      this.idle -= 1;
    } else if (bootingAt >= 0) {
      this.#bootingSlots.splice(bootingAt, 1);
      this.booting -= 1;
      this.#bootSeconds += this.#billed(this.#launchedS[slot] ?? 0, this.nowS);
    } else {
      throw new RangeError(`slot ${slot} holds no replica that could stop`);
    }
    this.#gpuSeconds += this.#billed(this.#launchedS[slot] ?? 0, this.nowS);
    this.#lastStopS = this.nowS;
    this.#generation[slot] = (this.#generation[slot] ?? 0) + 1;
    this.#freeSlots.push(slot);
    this.#countReplicas();
  }

  /** Stops the idle replica that has been idle longest; false when none is idle, or the floor is reached. */
  stopLongestIdle(): boolean {
    const slot = this.#idleSlots[0];
    if (slot === undefined || this.replicas <= this.floor) return false;
    this.stop(slot);
    return true;
  }

  /**
   * Asks for a look at that time, or the earlier one when asked twice; void once the next look, for whatever reason, is
   * taken. Infinity asks for nothing.
   * @throws RangeError when the time has come already: such a policy would never get past this instant
   */
  lookAgainAt(atS: number): void {
    if (!(atS > this.nowS))
      throw new RangeError(`asked to look again at ${atS} s, which it is already: ${this.nowS} s`);
    if (atS < this.#lookAtS) this.#lookAtS = atS;
  }

  /** When the next event or look is due. */
  nextAt(): number {
    const interactive = this.#interactiveIndexes[this.#interactiveArrived];
    const batch = this.#batchIndexes[this.#batchArrived];
    const arrival = Math.min(
      interactive === undefined ? Number.POSITIVE_INFINITY : (this.#arrivals.atS[interactive] ?? 0),
      batch === undefined ? Number.POSITIVE_INFINITY : (this.#arrivals.atS[batch] ?? 0),
    );
    return Math.min(arrival, this.#heap.nextAt, this.#lookAtS, this.#nextJoinS(), this.#fewerKeptAtS);
  }

  /** Whether every job has been started and none can arrive any more. */
  done(): boolean {
    return (
      this.#interactiveStarted === this.#interactiveIndexes.length && this.#batchStarted === this.#batchIndexes.length
    );
  }

  /** Moves the time on and lets happen all that is due at it. */
  step(atS: number): void {
    this.nowS = atS;
    this.#lookAtS = Number.POSITIVE_INFINITY;
    this.#fewerKeptAtS = Number.POSITIVE_INFINITY;
    while (this.#heap.nextAt <= atS) this.#happen(this.#heap.take());
    this.#arrive();
    this.#dispatch();
  }

  result(): ReplayResult {
    const { horizonS, billsToEnd = false } = this.#options;
    const endS = billsToEnd ? Math.max(horizonS, this.#lastEndS) : horizonS;
    for (const slot of [...this.#idleSlots, ...this.#bootingSlots, ...this.#busySlots]) {
      this.#gpuSeconds += this.#billed(this.#launchedS[slot] ?? 0, endS);
    }
    for (const slot of this.#bootingSlots) this.#bootSeconds += this.#billed(this.#launchedS[slot] ?? 0, endS);
    for (const slot of this.#busySlots) this.#busySeconds += this.#billed(this.#sinceS[slot] ?? 0, endS);
    const unserved = [
      ...this.#interactiveIndexes.slice(this.#interactiveStarted),
      ...this.#batchIndexes.slice(this.#batchStarted),
    ];
    const waitUntilS = billsToEnd ? Math.max(this.nowS, endS) : this.nowS;
    for (const job of unserved) this.#waitsS[job] = Math.max(0, waitUntilS - (this.#arrivals.atS[job] ?? 0));
    const deadlineS = this.#options.batchDeadlineS ?? Number.POSITIVE_INFINITY;
    const batchJobs = this.#jobsThat((job) => this.isBatch(job));
    return {
      gpuSeconds: this.#gpuSeconds,
      bootSeconds: this.#bootSeconds,
      busySeconds: this.#busySeconds,
      launches: this.#launches,
      interactive: this.#figures(this.#jobsThat((job) => !this.isBatch(job))),
      batch: this.#figures(batchJobs),
      batchMissed: batchJobs.reduce((missed, job) => missed + ((this.#waitsS[job] ?? 0) > deadlineS ? 1 : 0), 0),
      waitsS: this.#waitsS,
      unserved: unserved.length,
      batchUnserved: unserved.reduce((sum, job) => sum + (this.isBatch(job) ? 1 : 0), 0),
      endS: billsToEnd ? Math.max(endS, this.#lastStopS) : endS,
      peakReplicas: this.#peak,
      timeline: this.#timeline,
    };
  }

  /** Indexes of arrivals, ascending. */
  #jobsThat(holds: (job: number) => boolean): Int32Array {
    return Int32Array.from(this.#arrivals.atS.keys()).filter(holds);
  }

  /** Replicas that somebody has started before second 0. */
  #warmUp(count: number): void {
    for (let warm = 0; warm < count; warm += 1) {
      const slot = this.#freeSlots.pop();
      if (slot === undefined) return;
      this.#becomeIdle(slot);
      this.#countReplicas();
    }
  }

  #happen(payload: number): void {
    const slot = payload % SLOTS_PER_GENERATION;
    if (this.#payload(slot) !== payload) return; // This replica was stopped while it booted.
    const job = this.#jobOf[slot] ?? -1;
    if (job >= 0) {
      this.#busySeconds += this.#billed(this.#sinceS[slot] ?? 0, this.nowS);
      this.#lastEndS = this.nowS;
      this.#jobOf[slot] = -1;
      this.busy -= 1;
      this.#busySlots.delete(slot);
      this.#becomeIdle(slot);
      this.#listener?.onFinished?.(job, slot, this);
      this.#batchSlots.delete(slot);
      return;
    }
    this.#bootSeconds += this.#billed(this.#launchedS[slot] ?? 0, this.nowS);
    this.booting -= 1;
    this.#bootingSlots.splice(this.#bootingSlots.indexOf(slot), 1);
    this.#becomeIdle(slot);
    this.#listener?.onBooted?.(slot, this);
  }

  #becomeIdle(slot: number): void {
    this.#sinceS[slot] = this.nowS;
    this.#idleSlots.push(slot);
    this.idle += 1;
  }

  #arrive(): void {
    const { atS } = this.#arrivals;
    for (;;) {
      const job = this.#interactiveIndexes[this.#interactiveArrived];
      if (job === undefined || (atS[job] ?? 0) > this.nowS) break;
      this.#interactiveArrived += 1;
      this.#listener?.onArrived?.(job, this);
    }
    for (;;) {
      const job = this.#batchIndexes[this.#batchArrived];
      if (job === undefined || (atS[job] ?? 0) > this.nowS) break;
      this.#batchArrived += 1;
      this.#listener?.onArrived?.(job, this);
    }
    while (this.#nextJoinS() <= this.nowS) this.#batchJoined += 1;
  }

  #joinsAtS(job: number): number {
    const deadlineS = this.#options.batchDeadlineS ?? Number.POSITIVE_INFINITY;
    // One that may not wait much longer than that in all stays a batch job for half of its time.
    const isShort = deadlineS < 2 * BATCH_JOINS_BEFORE_S;
    return (this.#arrivals.atS[job] ?? 0) + (isShort ? deadlineS / 2 : deadlineS - BATCH_JOINS_BEFORE_S);
  }

  #nextJoinS(): number {
    if (this.#batchIndexes.length === 0) return Number.POSITIVE_INFINITY;
    if (this.#batchJoined < this.#batchStarted) this.#batchJoined = this.#batchStarted;
    const job = this.#batchJoined < this.#batchArrived ? this.#batchIndexes[this.#batchJoined] : undefined;
    return job === undefined ? Number.POSITIVE_INFINITY : this.#joinsAtS(job);
  }

  /**
   * Gives idle replicas their next jobs: interactive ones and batch jobs near their deadline, which stand behind those that
   * came before they joined; then other batch jobs.
   */
  #dispatch(): void {
    while (this.idle > 0) {
      const isApart = this.waiting === 0;
      const job = isApart ? this.#nextBatch() : this.#nextInteractive();
      const slot = job === undefined ? undefined : this.#idleSlots.pop();
      if (job === undefined || slot === undefined) return;
      const waitedS = this.nowS - (this.#arrivals.atS[job] ?? 0);
      const cold = waitedS > 0 && this.#fresh[slot] === 1 && this.#sinceS[slot] === this.nowS;
      this.#waitsS[job] = waitedS;
      this.#cold[job] = cold ? 1 : 0;
      this.#fresh[slot] = 0;
      this.#jobOf[slot] = job;
      this.#startedS[slot] = this.nowS;
      this.#sinceS[slot] = this.nowS;
      this.idle -= 1;
      this.busy += 1;
      this.#busySlots.add(slot);
      if (isApart) this.#batchSlots.add(slot);
      this.#heap.put(this.nowS + (this.#arrivals.serviceS[job] ?? 0), this.#payload(slot));
      this.#listener?.onStarted?.(job, slot, cold, this);
    }
  }

  #nextInteractive(): number | undefined {
    const interactiveS = this.#interactiveAtS(0);
    const isJoined = Number.isNaN(interactiveS) || this.#joinedAtS(0) < interactiveS;
    return isJoined ? this.#batchIndexes[this.#batchStarted++] : this.#interactiveIndexes[this.#interactiveStarted++];
  }

  #nextBatch(): number | undefined {
    if (this.#batchStarted === this.#batchArrived) return undefined;
    const kept = this.#listener?.keptFree?.(this);
    if (kept === undefined || this.idle > kept.replicas) return this.#batchIndexes[this.#batchStarted++];
    this.#fewerKeptAtS = kept.fewerAtS;
    return undefined;
  }

  #payload(slot: number): number {
    return (this.#generation[slot] ?? 0) * SLOTS_PER_GENERATION + slot;
  }

  #bootTimeS(): number {
    const { bootS, bootCv = 0 } = this.#options;
    if (bootCv === 0) return bootS;
    const variance = Math.log(1 + bootCv * bootCv);
    const normal = Math.sqrt(-2 * Math.log(1 - this.#chance())) * Math.cos(2 * Math.PI * this.#chance());
    return bootS * Math.exp(Math.sqrt(variance) * normal - variance / 2);
  }

  #billed(fromS: number, toS: number): number {
    const { horizonS, billsToEnd = false } = this.#options;
    return Math.max(0, (billsToEnd ? toS : Math.min(toS, horizonS)) - fromS);
  }

  #countReplicas(): void {
    const replicas = this.replicas;
    if (replicas > this.#peak) this.#peak = replicas;
    if (this.#options.keepTimeline !== true) return;
    const last = this.#timeline.at(-1);
    if (last !== undefined && last[0] === this.nowS) last[1] = replicas;
    else this.#timeline.push([this.nowS, replicas]);
  }

  #figures(jobs: Int32Array): WaitFigures {
    const countFromS = this.#options.countFromS ?? 0;
    const waits = new CountedWaits(jobs.length);
    let cold = 0;
    for (const job of jobs) {
      if ((this.#arrivals.atS[job] ?? 0) < countFromS) continue;
      waits.add(this.#waitsS[job] ?? 0);
      cold += this.#cold[job] ?? 0;
    }
    const figures = waits.figures();
    return { ...figures, coldShare: figures.jobs === 0 ? 0 : cold / figures.jobs };
  }
}
