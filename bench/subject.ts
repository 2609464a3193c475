/** What every system under test looks like to the bench: jobs go in, replicas take them. */

/** A replica that does nothing but take leases and report them done. `Work` is a lease in the system's own form. */
export interface BenchReplica<Work> {
  /** Waits for a lease, for as long as it takes. */
  take(): Promise<Work>;
  /**
   * Reports the job done.
   * @param more asks for the next lease in the answer; null when none waits
   */
  complete(work: Work, more: boolean): Promise<Work | null>;
  close(): void;
}

/** One connection on which jobs are submitted, one at a time. */
export interface Submitter {
  /** Resolves when the job is stored. @param job a number that no other submit of this run has */
  submit(job: number): Promise<void>;
  close(): void;
}

/** A queue that takes jobs from submitters. */
export interface Intake {
  readonly name: string;
  submitter(): Promise<Submitter>;
}

/** A queue that gives them to replicas as well. */
export interface Queue<Work = unknown> extends Intake {
  /** @param count the same for the whole life of the queue */
  replicas(count: number): Promise<BenchReplica<Work>[]>;
}

let lastJob = 0;

/** A number for a job, never given twice in a run. */
export function nextJob(): number {
  lastJob += 1;
  return lastJob;
}

/** The workflow: one colour, one file. The stand-in runs it for real; replicas of the bench do not look at it. */
export function graphOf(color: number): Record<string, { class_type: string; inputs: Record<string, unknown> }> {
  return {
    1: { class_type: "EmptyImage", inputs: { width: 64, height: 64, batch_size: 1, color } },
    2: { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "bench" } },
  };
}

/** The body every queue is given, so that all of them move the same bytes. */
export function jobBody(job: number): string {
  return JSON.stringify({ inputs: { color: job % 16_777_216 } });
}
