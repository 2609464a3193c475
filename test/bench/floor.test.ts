import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Floor, floorReplica, startFloor } from "#bench/floor/floor";
import { Connection } from "#bench/load/connection";
import { Crew, submitAll, withSubmitters } from "#bench/load/drive";

let folder: string;
let floor: Floor;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "pilotlight-floor-"));
  floor = await startFloor(folder);
}, 60_000);

afterAll(async () => {
  await floor.stop();
  await rm(folder, { recursive: true, force: true });
});

describe("the floor", { timeout: 60_000 }, () => {
  it("gives each job that is submitted to one replica, in order, and the next one with the answer to a complete", async () => {
    await withSubmitters(floor.queue, 1, (submitters) => submitAll(submitters, 3));
    const replica = await floorReplica(floor.url, "one");
    const first = await replica.take();
    const second = await replica.complete(first, true);
    expect(second?.id).toBe(first.id + 1);
    const other = await floorReplica(floor.url, "other");
    const third = await other.take();
    expect(third.id).toBe(first.id + 2);
    if (second === null) throw new Error("no second lease");
    expect(await replica.complete(second, true)).toBeNull();
    expect(await other.complete(third, false)).toBeNull();
    replica.close();
    other.close();
  });

  it("holds the answer of a call until its job is complete, and answers with what was stored for it", async () => {
    const caller = await Connection.open(floor.url);
    const replica = await floorReplica(floor.url, "agent");
    const uploads = await Connection.open(floor.url);
    const called = caller.send({ method: "POST", path: "/calls", body: "{}" });
    let isAnswered = false;
    void called.then(() => {
      isAnswered = true;
    });
    const lease = await replica.take();
    await uploads.send({ method: "PUT", path: `/outputs/${lease.id}`, body: "a picture" });
    expect(isAnswered).toBe(false);
    await replica.complete(lease, false);
    expect((await called).body.toString()).toBe("a picture");
    for (const each of [caller, replica, uploads]) each.close();
  });

  it("loses and doubles nothing when many submit to many", async () => {
    const crew = new Crew(await floor.queue.replicas(4), true);
    crew.on();
    await withSubmitters(floor.queue, 8, async (submitters) => {
      await Promise.all([submitAll(submitters, 200), crew.untilDone(200)]);
    });
    await crew.untilIdle();
    expect(crew.taken).toBe(200);
  });

  it("keeps the bare object's jobs apart", async () => {
    const connection = await Connection.open(floor.url);
    const first = await connection.send({ method: "POST", path: "/bare", body: "{}" });
    const second = await connection.send({ method: "POST", path: "/bare", body: "{}" });
    expect([first.body.toString(), second.body.toString()]).toEqual(['{"id":1}', '{"id":2}']);
    connection.close();
  });
});
