/**
 * Random commands on real objects in workerd, checked after each against a model that knows only what it was told.
 * PILOTLIGHT_MODEL_RUNS goes deeper. A failure shows its seed and path for `fc.assert`, and its commands for
 * endpoint-examples.ts.
 */
import { env } from "cloudflare:workers";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { EndpointRpc } from "#durable-objects/endpoint/rpc";
import { agree, Session, stopWaiting } from "./endpoint-acts.ts";
import { commandsOf, oneByOne, Together, together } from "./endpoint-commands.ts";
import { EXAMPLES } from "./endpoint-examples.ts";
import { RealEndpoint } from "./real-endpoint.ts";
import { WRONG_ENDPOINTS } from "./wrong-endpoints.ts";

const RUNS = Number(env.MODEL_RUNS || 50);
const COMMANDS_MAX = 50;

/** A failure is cut down for so long: each try is a run of its own, and thousands may follow. */
const SHRINK_MS_MAX = 30_000;

/** The runs of one property; once one has failed, only so long. */
function bounded<T extends unknown[]>(run: (...of: T) => Promise<void>): (...of: T) => Promise<void> {
  let failedAt: number | null = null;
  return async (...of) => {
    if (failedAt !== null && Date.now() - failedAt > SHRINK_MS_MAX) return;
    try {
      await run(...of);
    } catch (error) {
      failedAt ??= Date.now();
      throw error;
    }
  };
}

type Commands = Iterable<fc.AsyncCommand<Session, RealEndpoint, boolean>>;
type StartedCommands = Iterable<fc.AsyncCommand<Together, RealEndpoint, boolean>>;

async function run(commands: Commands, standIn?: (endpoint: EndpointRpc) => EndpointRpc): Promise<void> {
  const session = new Session(await RealEndpoint.open(standIn));
  await fc.asyncModelRun(() => ({ model: session, real: session.real }), commands);
  await stopWaiting(session);
  await agree(session);
}

describe("a real endpoint object", () => {
  it("answers and shows what the model knows, command by command, through alarms, evictions and crashes", async () => {
    await fc.assert(
      fc.asyncProperty(
        oneByOne(COMMANDS_MAX),
        bounded((commands: Commands) => run(commands)),
      ),
      { numRuns: RUNS },
    );
  }, 600_000);

  it.each(EXAMPLES)("shows that $shows", ({ commands }) => run(commandsOf(commands)), 60_000);

  it("takes calls that arrive together one after the other, in the order of their arrival", async () => {
    let most = 0;
    const arrive = async (scheduler: fc.Scheduler, commands: StartedCommands): Promise<void> => {
      const session = new Session(await RealEndpoint.open());
      const calls = new Together(session, scheduler);
      await fc.scheduledModelRun(scheduler, () => ({ model: calls, real: session.real }), commands);
      await calls.hear();
      expect(calls.isOver()).toBe(true);
      await agree(session);
      most = Math.max(most, calls.most);
    };
    await fc.assert(fc.asyncProperty(fc.scheduler(), together(COMMANDS_MAX), bounded(arrive)), { numRuns: RUNS });
    // Else nothing would have arrived together.
    expect(most).toBeGreaterThan(5);
  }, 600_000);
});

describe("the model", () => {
  it.each(WRONG_ENDPOINTS)(
    "notices an endpoint that $does",
    async ({ seen, standIn }) => {
      const property = fc.asyncProperty(oneByOne(COMMANDS_MAX), (commands) => run(commands, standIn));
      const { failed, errorInstance } = await fc.check(property, { seed: 1, numRuns: 50, endOnFailure: true });
      expect(failed).toBe(true);
      expect(String(errorInstance)).toMatch(seen);
    },
    120_000,
  );
});
