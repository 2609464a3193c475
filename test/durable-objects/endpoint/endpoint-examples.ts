/**
 * Runs that showed a mistake once, as fast-check cut them down: of the endpoint with one line of it broken, or of the
 * model. A new failure is written here as it is printed, each command as its name and value.
 */
const wish = { lane: "interactive", priority: 0 };
const submit = ["submit", { wish, key: null, body: 0 }] as const;
const poll = ["poll", { at: 0, honest: true, waits: false }] as const;
const pollAndWait = ["poll", { at: 0, honest: true, waits: true }] as const;
const say = (what: string, more: object = {}) =>
  ["say", { at: 0, fresh: true, message: { what, next: false, outputs: "none", proof: "own", ...more } }] as const;

export interface Example {
  readonly shows: string;
  readonly commands: readonly (readonly [name: string, value?: unknown])[];
}

export const EXAMPLES: readonly Example[] = [
  {
    shows: "a forged token completes nothing, of a lease whose answer a crash has lost",
    commands: [pollAndWait, ["crash", { submits: 1, wish }], say("complete", { proof: "forged" })],
  },
  {
    shows: "a key is one job",
    commands: [
      ["submit", { wish, key: 1, body: 0 }],
      ["submit", { wish, key: 1, body: 0 }],
      ["submit", { wish, key: 1, body: 1 }],
    ],
  },
  {
    shows: "a paused queue starts nothing",
    commands: [["crash", { submits: 1, wish }], ["pause", false], poll],
  },
  {
    shows:
      "a poll that waits hears that a lease it lists is canceled, and the poll of that lease, repeated, finds nothing",
    commands: [
      poll,
      submit,
      ["replay", { at: 0, lately: false }],
      pollAndWait,
      ["cancel", { at: 0, living: true }],
      ["replay", { at: 0, lately: false }],
    ],
  },
  {
    shows: "a job goes before the first of its lane",
    commands: [submit, submit, submit, ["patch", { at: 2, moved: { position: "front" } }], ["ask", 2], poll],
  },
  {
    shows: "a repeated poll gets its lease again, and a repeated complete its next one",
    commands: [
      submit,
      submit,
      poll,
      ["replay", { at: 0, lately: false }],
      say("complete", { next: true }),
      ["replay", { at: 1, lately: false }],
      ["replay", { at: 1, lately: false }],
    ],
  },
  {
    shows: "attempts are bounded, dead letters run again as new jobs, and the pause outlives the object",
    commands: [
      submit,
      poll,
      say("break"),
      ["redrive"],
      ["ask", 0],
      ["pause", true],
      ["evict"],
      poll,
      ["redrive"],
      ["resume"],
      poll,
    ],
  },
  {
    shows: "the last attempt is the last",
    commands: [
      submit,
      poll,
      say("fail"),
      ["later"],
      ["poll", { at: 1, honest: true, waits: false }],
      say("fail"),
      ["ask", 0],
    ],
  },
  {
    shows: "replicas that wait are answered by the second call of a commit",
    commands: [
      poll,
      ["poll", { at: 1, honest: true, waits: true }],
      pollAndWait,
      ["together", { submits: 3, behind: 2, wish }],
    ],
  },
  {
    shows: "a batch job leaves a replica to interactive jobs also where the only one so far has gone to the batch lane",
    commands: [
      submit,
      ["patch", { at: 0, moved: { lane: "batch" } }],
      poll,
      pollAndWait,
      ["together", { submits: 1, behind: 0, wish: { lane: "batch", priority: 0 } }],
    ],
  },
  {
    shows: "a batch job that is held back beside a replica that waits goes to it once it is made interactive",
    commands: [
      ["batch", { wish: { lane: "batch", priority: 0 }, key: { key: null, body: 0 }, jobs: 2 }],
      ["patch", { at: 0, moved: { lane: "interactive" } }],
      poll,
      submit,
      say("complete", { next: true }),
      ["poll", { at: 1, honest: true, waits: true }],
      ["patch", { at: 2, moved: { lane: "interactive", priority: 4 } }],
    ],
  },
];
