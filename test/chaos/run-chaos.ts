/** One chaos run, from an empty folder to the verdict. */
import { copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import sharp from "sharp";
import { isTerminal } from "#contract/job";
import { Callers } from "./callers.ts";
import { check, type Violation } from "./check.ts";
import { Cluster } from "./cluster.ts";
import { collectJobs, collectListed, collectStored, collectUsage } from "./collect.ts";
import type { Destination, Evidence, JobEvidence } from "./evidence.ts";
import { type FaultReport, Faults } from "./faults.ts";
import type { ChaosOptions } from "./options.ts";
import { referencePictures } from "./reference-pictures.ts";
import { SeededChance } from "./seeded-chance.ts";
import { SmallDisk } from "./small-disk.ts";
import type { WebhookReceiver } from "./webhook-receiver.ts";
import { JOB_PATH, setUpWebhooks } from "./webhook-setup.ts";
import { PHOTOS, PICTURE_SIDE, PROMPT_MARK, planJobs } from "./workload.ts";

/** Room for a run of a thousand jobs and its logs. */
const DISK_MIB = 384;
/** After the last fault everything must have ended by then. */
const DRAIN_MS_MAX = 300_000;
/** A receiver that failed once is asked again after 5 s, then after 5 minutes. */
const MESSAGES_MS_MAX = 330_000;
const PROGRESS_MS = 500;
/** As shells have it for a Ctrl-C. */
const EXIT_INTERRUPTED = 130;

export interface ChaosResult {
  readonly jobs: number;
  readonly counts: ReturnType<Callers["counts"]>;
  readonly faults: FaultReport;
  readonly violations: readonly Violation[];
  /** The run's folder, while it is there. */
  readonly folder: string;
}

export interface ChaosProgress {
  readonly ended: number;
  readonly jobs: number;
  readonly done: FaultReport["done"];
}

export interface ChaosHooks {
  /** One line of news. */
  readonly report: (line: string) => void;
  readonly progress: (now: ChaosProgress) => void;
}

/** Runs everything and takes it down again. @throws when something of the run itself cannot be started */
export async function runChaos(options: ChaosOptions, { report, progress }: ChaosHooks): Promise<ChaosResult> {
  const folder = await mkdtemp(join(tmpdir(), "pilotlight-chaos-"));
  const state = join(folder, "server");
  await mkdir(state);
  const disk = options.fullDisk ? await SmallDisk.mount(state, DISK_MIB) : null;
  if (options.fullDisk && disk === null) report("No small filesystem is to be had here: the disk will not be full.");
  const chance = new SeededChance(options.seed);
  const planned = planJobs(options.jobs, options.seed);
  let cluster: Cluster | null = null;
  // A Ctrl-C must leave nothing behind, least of all a process that is stopped for ever.
  const leave = () =>
    void cleanUp(cluster, disk, options.keep ? null : folder).finally(() => process.exit(EXIT_INTERRUPTED));
  process.once("SIGINT", leave).once("SIGTERM", leave);
  try {
    cluster = await Cluster.start({
      folder,
      state,
      agents: options.agents,
      chance: new SeededChance(chance.below(2 ** 32)),
      report,
    });
    await cluster.deploy();
    const { client, receiver, token } = cluster;
    const webhooks = await setUpWebhooks(client.baseUrl, token, receiver.url);
    const photos = await drawPhotos();
    const photoIds = await Promise.all(
      photos.map(async (bytes) => (await client.files.upload(new Uint8Array(bytes))).id as string),
    );
    const holder: { faults: Faults | null } = { faults: null };
    const callers = new Callers({
      jobs: planned,
      caller: cluster.caller.bind(cluster),
      client,
      photoIds,
      webhookUrl: `${receiver.url}${JOB_PATH}`,
      allowed: (ended) => holder.faults?.allowed(ended) ?? 0,
    });
    const faults = new Faults({ cluster, callers, counts: options.faults, chance, jobs: options.jobs, disk });
    holder.faults = faults;
    const showing = setInterval(
      () => progress({ ended: callers.ended, jobs: options.jobs, done: faults.report.done }),
      PROGRESS_MS,
    );
    try {
      const calling = callers.run();
      await faults.run();
      const patience = setTimeout(() => callers.giveUp(), DRAIN_MS_MAX);
      await calling;
      clearTimeout(patience);
    } finally {
      clearInterval(showing);
      callers.giveUp();
    }
    report("All faults are over; collecting the evidence.");
    await cluster.healthy();
    const reference = await referencePictures(
      join(folder, "reference"),
      planned.map(({ color }) => color),
      photos,
    );
    const jobs = await collectJobs(client, callers.jobs, reference);
    const destinations = [
      webhooks.subscription,
      { ...webhooks.single, jobs: planned.filter((job) => job.hasWebhook).map(({ index }) => index) },
    ];
    await waitForMessages(jobs, destinations, receiver);
    const evidence: Evidence = {
      jobs,
      listed: await collectListed(client),
      stored: await collectStored(cluster.state.data),
      messages: [...receiver.messages],
      destinations,
      publicKey: webhooks.publicKey,
      usage: await collectUsage(client),
      lateCompletes: faults.report.lateCompletes,
      submitStatuses: callers.statuses,
      refused: callers.refused,
      logs: await cluster.logs(),
      secrets: [...(await cluster.secrets()), ...destinations.map(({ secret }) => secret), PROMPT_MARK],
    };
    const violations = check(evidence);
    if (options.keep) {
      await writeFile(join(folder, "evidence.json"), JSON.stringify(evidence, null, 1));
      // The small disk ends with this process.
      if (disk !== null) await copyFile(cluster.state.serverLog, join(folder, "server.log"));
    }
    return { jobs: options.jobs, counts: callers.counts(), faults: faults.report, violations, folder };
  } finally {
    process.off("SIGINT", leave).off("SIGTERM", leave);
    await cleanUp(cluster, disk, options.keep ? null : folder);
  }
}

/** Ends everything, and removes the folder unless it is to stay. */
async function cleanUp(cluster: Cluster | null, disk: SmallDisk | null, folder: string | null): Promise<void> {
  await cluster?.stop();
  await disk?.unmount().catch(() => undefined);
  if (folder !== null) await rm(folder, { recursive: true, force: true }).catch(() => undefined);
}

/** Until every destination has heard of every end that it must hear of, or nothing more is to be hoped for. */
async function waitForMessages(
  jobs: readonly JobEvidence[],
  destinations: readonly Destination[],
  receiver: WebhookReceiver,
): Promise<void> {
  const deadline = performance.now() + MESSAGES_MS_MAX;
  const wanted = destinations.flatMap(({ path, jobs: only }) =>
    jobs
      .filter(({ plan, record }) => record !== null && isTerminal(record.state) && (only?.includes(plan.index) ?? true))
      .map(({ record }) => ({ path, id: record?.id ?? "" })),
  );
  for (;;) {
    const taken = receiver.messages.filter(({ status }) => status !== null && status < 300);
    const heard = new Set(taken.map(({ path, body }) => `${path} ${/job_[0-9a-z]{26}/.exec(body)?.[0]}`));
    if (wanted.every(({ path, id }) => heard.has(`${path} ${id}`)) || performance.now() > deadline) return;
    await sleep(PROGRESS_MS);
  }
}

/** Pictures of one colour each, as callers would upload them. */
function drawPhotos(): Promise<Buffer[]> {
  return Promise.all(
    Array.from({ length: PHOTOS }, (_, number) =>
      sharp({
        create: {
          width: PICTURE_SIDE,
          height: PICTURE_SIDE / 2,
          channels: 3,
          background: { r: 30 * number, g: 255 - 30 * number, b: 128 },
        },
      })
        .png()
        .toBuffer(),
    ),
  );
}
