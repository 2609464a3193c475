import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HISTORY_ENTRIES_MAX, History, type RunResult } from "#gpu-agent/stand-in/history";
import { PromptQueue, type QueuedPrompt } from "#gpu-agent/stand-in/prompt-queue";

const item = (number: number, promptId = String(number)): QueuedPrompt => ({
  number,
  promptId,
  prompt: {},
  extraData: {},
  outputs: [],
});

function drained(queue: PromptQueue): QueuedPrompt[] {
  const taken: QueuedPrompt[] = [];
  for (let next = queue.take(); next !== undefined; next = queue.take()) {
    taken.push(next);
    queue.done(() => undefined);
  }
  return taken;
}

describe("the queue", () => {
  it("gives prompts by number, whatever was put in and taken out", () => {
    const numbers = fc.array(fc.integer({ min: -50, max: 50 }), { maxLength: 60 });
    fc.assert(
      fc.property(numbers, fc.array(fc.nat(60)), (given, removed) => {
        const queue = new PromptQueue(() => undefined);
        for (const [index, number] of given.entries()) queue.put(item(number, String(index)));
        for (const index of removed) queue.delete(String(index));
        const expected = given.filter((_, index) => !removed.includes(index)).sort((a, b) => a - b);
        expect(drained(queue).map(({ number }) => number)).toEqual(expected);
      }),
    );
  });

  it("lists what waits in the order of Python's heap", () => {
    const queue = new PromptQueue(() => undefined);
    for (const number of [1, 2, 3, -4]) queue.put(item(number));
    expect(queue.pending.map(({ number }) => number)).toEqual([-4, 1, 3, 2]);
  });

  it("goes by id between equal numbers", () => {
    const queue = new PromptQueue(() => undefined);
    for (const id of ["b", "c", "a"]) queue.put(item(0, id));
    expect(drained(queue).map(({ promptId }) => promptId)).toEqual(["a", "b", "c"]);
  });

  it("reports each change, and the removal of the last waiting prompt twice", () => {
    const counts: number[] = [];
    const queue: PromptQueue = new PromptQueue(() => counts.push(queue.remaining));
    queue.put(item(1));
    queue.put(item(2));
    queue.delete("2");
    queue.delete("1");
    expect(counts).toEqual([1, 2, 1, 0, 0]);
  });
});

describe("the history", () => {
  const result: RunResult = { outputs: new Map(), meta: new Map(), success: true, messages: [] };

  it("forgets the oldest entries beyond its limit", () => {
    const history = new History();
    for (let count = 0; count < HISTORY_ENTRIES_MAX + 5; count += 1) history.add(item(count), result);
    expect(history.all().size).toBe(HISTORY_ENTRIES_MAX + 1);
    expect(history.get("3")).toBeUndefined();
    expect(history.get("4")).toBeDefined();
  });

  it("keeps no secrets", () => {
    const history = new History();
    const extraData = { api_key_comfy_org: "s", auth_token_comfy_org: "s", client_id: "me" };
    history.add({ ...item(1), extraData }, result);
    expect(history.get("1")?.prompt[3]).toEqual({ client_id: "me" });
  });

  it.each([
    [undefined, undefined, ["0", "1", "2", "3"]],
    [2, undefined, ["2", "3"]],
    [2, 1, ["1", "2"]],
    [undefined, 3, ["3"]],
    [10, undefined, ["0", "1", "2", "3"]],
    [0, undefined, []],
  ])("gives max_items %s from offset %s", (maxItems, offset, ids) => {
    const history = new History();
    for (let count = 0; count < 4; count += 1) history.add(item(count), result);
    expect([...history.list(maxItems, offset).keys()]).toEqual(ids);
  });
});
