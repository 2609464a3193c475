/** Options that choose jobs, the same in lists and in operations on many jobs. */
import type { ParseArgsOptionsConfig } from "node:util";
import type * as z from "zod";
import type { Call } from "#cli/command";
import { CliError } from "#cli/errors";
import { timeOf } from "#cli/times";
import { BatchId, KeyId } from "#contract/ids";
import { JobErrorCode, JobState, Lane } from "#contract/job";

export const jobFilterOptions = {
  endpoint: { type: "string" },
  state: { type: "string" },
  lane: { type: "string" },
  tag: { type: "string" },
  key: { type: "string" },
  batch: { type: "string" },
  error: { type: "string" },
  since: { type: "string" },
  until: { type: "string" },
} as const satisfies ParseArgsOptionsConfig;

export const jobFilterHelp: Readonly<Record<keyof typeof jobFilterOptions, string>> = {
  endpoint: "of this endpoint alone",
  state: JobState.options.join(", "),
  lane: Lane.options.join(" or "),
  tag: "with this tag",
  key: "submitted with this API key (key_…)",
  batch: "of this batch (batch_…)",
  error: "failed with this error code, such as out_of_memory",
  since: "submitted at or after: 1h, 2d … ago, or an ISO time",
  until: "submitted before",
};

export interface JobFilters {
  readonly state?: JobState;
  readonly lane?: Lane;
  readonly tag?: string;
  readonly key_id?: KeyId;
  readonly batch_id?: BatchId;
  readonly error_code?: JobErrorCode;
  readonly created_after?: string;
  readonly created_before?: string;
}

/**
 * What the options say, without the endpoint.
 * @throws CliError `usage` for a value that is none
 */
export function jobFilters(call: Call): JobFilters {
  const now = Date.now();
  const [since, until] = [call.text("since"), call.text("until")];
  const state = chosen(call, "state", JobState, JobState.options.join(", "));
  const lane = chosen(call, "lane", Lane, Lane.options.join(" or "));
  const keyId = chosen(call, "key", KeyId, "an id like key_…");
  const batchId = chosen(call, "batch", BatchId, "an id like batch_…");
  const errorCode = chosen(call, "error", JobErrorCode, JobErrorCode.options.join(", "));
  const tag = call.text("tag");
  return {
    ...(state === undefined ? {} : { state }),
    ...(lane === undefined ? {} : { lane }),
    ...(tag === undefined ? {} : { tag }),
    ...(keyId === undefined ? {} : { key_id: keyId }),
    ...(batchId === undefined ? {} : { batch_id: batchId }),
    ...(errorCode === undefined ? {} : { error_code: errorCode }),
    ...(since === undefined ? {} : { created_after: timeOf(since, "since", now) }),
    ...(until === undefined ? {} : { created_before: timeOf(until, "until", now) }),
  };
}

/** An option's value, of one kind. @throws CliError `usage`, which says what it takes */
export function chosen<Schema extends z.ZodType>(
  call: Call,
  option: string,
  schema: Schema,
  takes: string,
): z.infer<Schema> | undefined {
  const text = call.text(option);
  if (text === undefined) return undefined;
  const value = schema.safeParse(text);
  if (!value.success) throw new CliError("usage", `--${option} is ${takes}, not ${text}`);
  return value.data;
}
