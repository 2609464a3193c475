/** The floor and the bare object, as the bench sees them. */
import { fileURLToPath } from "node:url";
import * as z from "zod";
import { Connection } from "#bench/load/connection";
import { startProgram } from "#bench/load/program";
import { type BenchReplica, type Intake, jobBody, type Queue, type Submitter } from "#bench/subject";

const SERVER = fileURLToPath(new URL("./server.ts", import.meta.url));
const Ready = z.object({ url: z.string() });
const LeaseAnswer = z.object({ id: z.int(), inputs: z.string() }).nullable();

export interface FloorLease {
  readonly id: number;
  readonly inputs: string;
}

export interface Floor {
  readonly url: string;
  readonly queue: Queue<FloorLease>;
  /** One insert, one commit. */
  readonly bare: Intake;
  stop(): Promise<void>;
}

/** Starts the floor in a process of its own. @param folder gets its state */
export async function startFloor(folder: string): Promise<Floor> {
  const program = await startProgram(SERVER, [folder], { stopBy: "end of input" });
  const { url } = Ready.parse(JSON.parse(program.ready));
  return {
    url,
    queue: {
      name: "floor",
      submitter: () => floorSubmitter(url, "/jobs"),
      replicas: (count) => Promise.all(Array.from({ length: count }, (_, place) => floorReplica(url, String(place)))),
    },
    bare: { name: "bare object", submitter: () => floorSubmitter(url, "/bare") },
    stop: () => program.stop(),
  };
}

async function floorSubmitter(url: string, path: string): Promise<Submitter> {
  const connection = await Connection.open(url);
  return {
    submit: async (job) => {
      const answer = await connection.send({ method: "POST", path, body: jobBody(job) });
      if (answer.status !== 200) throw new Error(`the floor answered ${answer.status}`);
    },
    close: () => connection.close(),
  };
}

/** @param name one that no other replica has */
export async function floorReplica(url: string, name: string): Promise<BenchReplica<FloorLease>> {
  const connection = await Connection.open(url);
  const ask = async (path: string): Promise<FloorLease | null> => {
    const answer = await connection.send({ method: "POST", path, body: "" });
    if (answer.status !== 200) throw new Error(`the floor answered ${answer.status}`);
    return LeaseAnswer.parse(JSON.parse(answer.body.toString()));
  };
  return {
    take: async () => {
      for (;;) {
        const lease = await ask(`/replicas/${name}`);
        if (lease !== null) return lease;
      }
    },
    complete: (lease, more) => ask(`/leases/${lease.id}/${name}${more ? "/more" : ""}`),
    close: () => connection.close(),
  };
}
