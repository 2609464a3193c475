import { queue } from "./0001-queue.ts";
import { absence } from "./0002-absence.ts";
import { oneRow } from "./0003-one-row.ts";
import { control } from "./0004-control.ts";
import { outbox } from "./0005-outbox.ts";
import { canary } from "./0006-canary.ts";
import { releaseGate } from "./0007-release-gate.ts";
import { replicaTimes } from "./0008-replica-times.ts";
import { scaling } from "./0009-scaling.ts";
import { releaseEvents } from "./0010-release-events.ts";
import { joined } from "./0011-joined.ts";
import { batchPlaces } from "./0012-batch-places.ts";
import { numberedRows } from "./0013-numbered-rows.ts";
import { releaseBuilds } from "./0014-release-builds.ts";
import { cardTime } from "./0015-card-time.ts";

/** Every step of the EndpointObject's schema, oldest first. Append only. */
export const endpointMigrations = [
  queue,
  absence,
  oneRow,
  control,
  outbox,
  canary,
  releaseGate,
  replicaTimes,
  scaling,
  releaseEvents,
  joined,
  batchPlaces,
  numberedRows,
  releaseBuilds,
  cardTime,
];
