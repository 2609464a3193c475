import { capacity } from "./0001-capacity.ts";
import { absence } from "./0002-absence.ts";
import { silence } from "./0003-silence.ts";
import { regions } from "./0004-regions.ts";
import { lastError } from "./0005-last-error.ts";
import { pollOrder } from "./0006-poll-order.ts";
import { trust } from "./0007-trust.ts";
import { lost } from "./0008-lost.ts";
import { needs } from "./0009-needs.ts";
import { heard } from "./0010-heard.ts";
import { lacking } from "./0011-lacking.ts";
import { quiet } from "./0012-quiet.ts";

/** Every step of the PodObject's schema, oldest first. Append only. */
export const podMigrations = [
  capacity,
  absence,
  silence,
  regions,
  lastError,
  pollOrder,
  trust,
  lost,
  needs,
  heard,
  lacking,
  quiet,
];
