/** The acts as commands of fast-check, one after the other or together, with how often each comes. */
import fc from "fast-check";
import { LEASE_CONFIRM_MS } from "#contract/limits";
import type { Act, Apply, Session } from "./endpoint-acts.ts";
import * as acts from "./endpoint-acts.ts";
import type { RealEndpoint } from "./real-endpoint.ts";

/** A run ends before a lease could run out, however busy the machine is. Time itself is the simulation's. */
const RUN_MS_MAX = LEASE_CONFIRM_MS - 2_000;

/** Calls that one command sends at once. */
const TOGETHER_MAX = 5;

/** Sends, waits for the answer, and compares everything. */
class OneByOne implements fc.AsyncCommand<Session, RealEndpoint> {
  readonly #label: string;
  readonly #act: Act;

  constructor([label, act]: Labelled) {
    this.#label = label;
    this.#act = act;
  }

  check({ real }: Readonly<Session>): boolean {
    return Date.now() - real.openedAt < RUN_MS_MAX;
  }

  async run(session: Session): Promise<void> {
    const sent = this.#act(session);
    if (sent === null) return;
    await (await sent)();
    await acts.agree(session);
  }

  toString(): string {
    return this.#label;
  }
}

/** Calls on their way. They reach the object in the order of their start, whatever the order of their answers. */
export class Together {
  readonly session: Session;
  /** The most that were on their way at once. */
  most = 0;
  readonly #scheduler: fc.Scheduler;
  readonly #applies: (Apply | null)[] = [];
  #applied = 0;
  #open = 0;

  constructor(session: Session, scheduler: fc.Scheduler) {
    this.session = session;
    this.#scheduler = scheduler;
  }

  /** Sends, and leaves to the scheduler when the answer comes. The model hears of answers in the order of the calls. */
  send(label: string, act: Act): void {
    const sent = act(this.session);
    if (sent === null) return;
    const at = this.#applies.push(null) - 1;
    this.#open += 1;
    this.most = Math.max(this.most, this.#open);
    const answered = (apply: Apply): void => {
      this.#applies[at] = apply;
      this.#open -= 1;
    };
    const broken = (error: unknown): void =>
      answered(() => {
        throw error;
      });
    void this.#scheduler.schedule(sent, label).then(answered, broken);
  }

  /** Tells the model of all answers behind which none is missing. */
  async hear(): Promise<void> {
    for (;;) {
      const apply = this.#applies[this.#applied] ?? null;
      if (apply === null) return;
      this.#applied += 1;
      await apply();
    }
  }

  /** Every call has been answered. */
  isOver(): boolean {
    return this.#applied === this.#applies.length;
  }
}

/** Sends several at once. */
class Started implements fc.AsyncCommand<Together, RealEndpoint> {
  readonly #calls: readonly Labelled[];

  constructor(calls: readonly Labelled[]) {
    this.#calls = calls;
  }

  check({ session }: Readonly<Together>): boolean {
    return Date.now() - session.real.openedAt < RUN_MS_MAX;
  }

  async run(together: Together): Promise<void> {
    await together.hear();
    for (const [label, act] of this.#calls) together.send(label, act);
  }

  toString(): string {
    return `[${this.#calls.map(([label]) => label).join(", ")}]`;
  }
}

type Labelled = readonly [label: string, act: Act];

const lane = fc.constantFrom("interactive" as const, "interactive" as const, "batch" as const);
const priority = fc.integer({ min: 0, max: 9 });
const wish = fc.record({ lane, priority });
const key = fc.record({
  key: fc.option(fc.integer({ min: 0, max: 3 })),
  body: fc.constantFrom(0, 0, 0, 1),
});

/** Every act by its name, from the values that a failure shows with it. */
const MAKERS = new Map<string, (value: unknown) => Act>();

/** @param weight how often it comes, beside the others */
function labelled<T>(weight: number, name: string, values: fc.Arbitrary<T>, make: (value: T) => Act) {
  MAKERS.set(name, (value) => make(value as T));
  const arbitrary = values.map((value): Labelled => [`${name}(${JSON.stringify(value) ?? ""})`, make(value)]);
  return { weight, arbitrary };
}

const nothing = fc.constant(undefined);
const message = fc.record({
  what: fc.constantFrom(
    "complete" as const,
    "complete" as const,
    "complete" as const,
    "fail" as const,
    "fail" as const,
    "break" as const,
    "release" as const,
    "grant" as const,
    "assigned" as const,
    "executing" as const,
    "uploading" as const,
  ),
  next: fc.boolean(),
  outputs: fc.constantFrom(
    "none" as const,
    "none" as const,
    "stored" as const,
    "stored" as const,
    "elsewhere" as const,
  ),
  proof: fc.constantFrom(
    ...(["own", "own", "own", "own", "own", "own", "own", "own", "forged", "other node"] as const),
  ),
});
const moved = fc.record(
  { lane, priority, position: fc.constant("front" as const) },
  { requiredKeys: [], noNullPrototype: true },
);

/** What may be sent without waiting for the answer to what was sent before. */
const anytime = [
  labelled(
    6,
    "submit",
    fc.record({ wish, key: key.map(({ key }) => key), body: fc.constantFrom(0, 0, 1) }),
    acts.submit,
  ),
  labelled(2, "cancel", fc.record({ at: fc.nat(), living: fc.boolean() }), ({ at, living }) => acts.cancel(at, living)),
  labelled(2, "retry", fc.record({ at: fc.nat(), key }), ({ at, key }) => acts.retry(at, key)),
  labelled(3, "patch", fc.record({ at: fc.nat(), moved }), ({ at, moved }) => acts.patch(at, moved)),
  labelled(1, "pause", fc.boolean(), acts.pause),
  labelled(2, "resume", nothing, acts.resume),
  labelled(9, "say", fc.record({ at: fc.nat(), fresh: fc.constantFrom(true, true, true, false), message }), (op) =>
    acts.say(op.at, op.fresh, op.message),
  ),
  labelled(4, "replay", fc.record({ at: fc.nat(), lately: fc.boolean() }), ({ at, lately }) => acts.replay(at, lately)),
];

function pollOf(waits: fc.Arbitrary<boolean>) {
  const op = fc.record({ at: fc.nat(), honest: fc.constantFrom(true, true, true, false), waits });
  return labelled(7, "poll", op, ({ at, honest, waits }) => acts.poll(at, honest, waits));
}

const alone = [
  pollOf(fc.boolean()),
  labelled(2, "batch", fc.record({ wish, key, jobs: fc.integer({ min: 1, max: 5 }) }), ({ wish, key, jobs }) =>
    acts.submitBatch({ wish, ...key, jobs }),
  ),
  labelled(1, "purge", fc.constantFrom("queued" as const, "retrying" as const, "dead" as const), acts.purge),
  labelled(2, "redrive", nothing, acts.redrive),
  labelled(2, "ask", fc.nat(), acts.ask),
  labelled(
    3,
    "together",
    fc.record({ submits: fc.integer({ min: 1, max: 4 }), behind: fc.nat(3), wish }),
    ({ submits, behind, wish }) => acts.submitTogether(submits, behind, wish),
  ),
  labelled(3, "later", nothing, acts.endBackoffs),
  labelled(1, "alarm", nothing, acts.ring),
  labelled(1, "evict", nothing, acts.evict),
  labelled(1, "crash", fc.record({ submits: fc.integer({ min: 0, max: 4 }), wish }), ({ submits, wish }) =>
    acts.crash(submits, wish),
  ),
];

/** @param max commands of one run at most */
export function oneByOne(max: number) {
  const command = fc.oneof(...anytime, ...alone).map((each) => new OneByOne(each));
  return fc.noBias(fc.commands([command], { maxCommands: max, size: "max" }));
}

/** As `oneByOne`, for calls that arrive together. */
export function together(max: number) {
  const calls = fc.array(fc.oneof(...anytime, pollOf(fc.constant(false))), { minLength: 1, maxLength: TOGETHER_MAX });
  const command = calls.map((each) => new Started(each));
  return fc.noBias(fc.commands([command], { maxCommands: max, size: "max" }));
}

/** The commands of a failure, as it shows them: names and values, one after the other. */
export function commandsOf(shown: readonly (readonly [name: string, value?: unknown])[]) {
  return shown.map(([name, value]) => {
    const make = MAKERS.get(name);
    if (make === undefined) throw new Error(`there is no act ${name}`);
    return new OneByOne([`${name}(${JSON.stringify(value) ?? ""})`, make(value)]);
  });
}
