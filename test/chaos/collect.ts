/** Reads, after a run, everything that its checker may know. */
import { createHash } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { Pilotlight } from "#client/pilotlight";
import { PilotlightError } from "#client/pilotlight-error";
import type { Job } from "#contract/job";
import type { UsageRow } from "#contract/usage";
import type { SubmittedJob } from "./callers.ts";
import type { Download, JobEvidence, SeenEvent, StoredObject } from "./evidence.ts";
import type { ReferencePictures } from "./reference-pictures.ts";
import { expectedOutputs, SLUGS } from "./workload.ts";

const READERS = 6;

/** Each job as the API shows it now, with its events and the bytes of its outputs. */
export async function collectJobs(
  client: Pilotlight,
  jobs: readonly SubmittedJob[],
  reference: ReferencePictures,
): Promise<JobEvidence[]> {
  const evidence: JobEvidence[] = [];
  const queue = [...jobs];
  const read = async (): Promise<void> => {
    for (let job = queue.shift(); job !== undefined; job = queue.shift()) {
      const { plan, acknowledged, cancelAnswer } = job;
      const expected = expectedOutputs(
        plan,
        (color) => reference.colors.get(color) ?? "no reference",
        (photo) => reference.photos[photo] ?? "no reference",
      );
      const [id] = acknowledged;
      const record = id === undefined ? null : await jobOrNull(client, id);
      evidence.push({
        plan,
        acknowledged,
        cancelAnswer,
        record,
        events: record === null ? [] : await eventsOf(client, record.id),
        downloads: record === null ? [] : await downloadsOf(client, record),
        expected,
      });
    }
  };
  await Promise.all(Array.from({ length: READERS }, read));
  return evidence.toSorted((one, other) => one.plan.index - other.plan.index);
}

async function jobOrNull(client: Pilotlight, id: string): Promise<Job | null> {
  try {
    return await client.jobs.get(id);
  } catch (error) {
    if (error instanceof PilotlightError && error.status === 404) return null;
    throw error;
  }
}

/** Events that are there now; a job that never ends is not waited for. */
async function eventsOf(client: Pilotlight, id: string): Promise<SeenEvent[]> {
  const events: SeenEvent[] = [];
  const signal = AbortSignal.timeout(15_000);
  try {
    for await (const { seq, type, data } of client.jobs.events(id, { signal })) {
      if (seq === null) continue;
      const text = (value: unknown) => (typeof value === "string" ? value : null);
      events.push({ seq, type, at: text(data.at), replicaId: text(data.replica_id) });
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
  return events;
}

async function downloadsOf(client: Pilotlight, job: Job): Promise<Download[]> {
  const downloads: Download[] = [];
  for (const output of job.outputs) {
    try {
      const bytes = await client.outputs.bytes({ job: job.id, output });
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      downloads.push({ output: output.output, name: output.name, sha256 });
    } catch (error) {
      // One that cannot be had is missing from the evidence, which is what the checker looks for.
      if (!(error instanceof PilotlightError)) throw error;
    }
  }
  return downloads;
}

export async function collectListed(client: Pilotlight): Promise<string[]> {
  const ids: string[] = [];
  for (const endpoint of Object.values(SLUGS)) {
    for await (const { id } of client.jobs.list({ endpoint, limit: 100 })) ids.push(id);
  }
  return ids;
}

/** The usage export, all pages. */
export async function collectUsage(client: Pilotlight): Promise<UsageRow[]> {
  const rows: UsageRow[] = [];
  for await (const row of client.usage.list({ limit: 100 })) rows.push(row);
  return rows;
}

/** The bucket's objects, from the state directory of a local server. */
export async function collectStored(dataFolder: string): Promise<StoredObject[]> {
  const folder = join(dataFolder, "r2", "miniflare-R2BucketObject");
  const objects: StoredObject[] = [];
  for (const name of await readdir(folder)) {
    if (!/^[0-9a-f]{64}\.sqlite$/.test(name)) continue;
    const database = new DatabaseSync(join(folder, name), { readOnly: true });
    try {
      for (const row of database.prepare("SELECT key, checksums FROM _mf_objects").all()) {
        const { sha256 } = JSON.parse(String(row.checksums)) as { sha256?: string };
        objects.push({ key: String(row.key), sha256: sha256 ?? null });
      }
    } finally {
      database.close();
    }
  }
  return objects;
}
