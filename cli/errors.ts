/** Everything that can go wrong on the command line: one code each, with the exit code and what to do about it. */
import { PilotlightError } from "#client/pilotlight-error";
import type { FieldError } from "#contract/problems";

/** 0 is success. Scripts may rely on these numbers: add, never change. */
export const ExitCode = {
  failed: 1,
  usage: 2,
  /** The job itself failed, was canceled or expired. */
  jobFailed: 3,
  forbidden: 4,
  notFound: 5,
  /** The wait is over and the job goes on. */
  waitTimeout: 6,
  /** Quota or budget. */
  limit: 7,
  unreachable: 8,
  interrupted: 130,
} as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

interface ErrorRow {
  readonly exitCode: ExitCode;
  /** What to do; an error's own hint goes before it. */
  readonly hint: string | null;
}

/** Codes the command line raises itself; those of the service are in docs/problems.md. */
export const cliErrors = {
  usage: { exitCode: ExitCode.usage, hint: "--help shows what the command takes." },
  unknown_command: { exitCode: ExitCode.usage, hint: "`pilotlight help` lists the commands." },
  file_unreadable: { exitCode: ExitCode.usage, hint: null },
  invalid_input: { exitCode: ExitCode.usage, hint: "`pilotlight schema <endpoint>` shows the inputs." },
  job_failed: { exitCode: ExitCode.jobFailed, hint: null },
  not_logged_in: {
    exitCode: ExitCode.forbidden,
    hint: "Set PILOTLIGHT_TOKEN, give --token, or run `npm start` here, which makes a key.",
  },
  no_pod: { exitCode: ExitCode.notFound, hint: null },
  no_node: { exitCode: ExitCode.notFound, hint: "`pilotlight nodes ls` lists them." },
  server_failed: { exitCode: ExitCode.failed, hint: "`pilotlight doctor` looks for the cause." },
  server_running: { exitCode: ExitCode.failed, hint: "Use it, stop it, or choose another PILOTLIGHT_STATE_DIR." },
  agent_failed: { exitCode: ExitCode.failed, hint: "Its last lines are above." },
  agent_not_ready: { exitCode: ExitCode.failed, hint: "`pilotlight doctor` looks for the cause." },
  output_unwritable: { exitCode: ExitCode.failed, hint: "The outputs stay on the server; download them again." },
  output_damaged: { exitCode: ExitCode.failed, hint: "Download it again." },
  demo_failed: { exitCode: ExitCode.failed, hint: "`pilotlight doctor` looks for the cause." },
  doctor_found: { exitCode: ExitCode.failed, hint: null },
  interrupted: { exitCode: ExitCode.interrupted, hint: null },
  build_unusable: { exitCode: ExitCode.failed, hint: null },
  build_incomplete: {
    exitCode: ExitCode.failed,
    hint: "Fill them in in the written file, or give another file that says them; --draft takes it as it is.",
  },
  release_failed: {
    exitCode: ExitCode.failed,
    hint: "The old release stays active. `pilotlight releases logs` shows what its machines said; --force activates it nevertheless.",
  },
  release_replaced: { exitCode: ExitCode.failed, hint: "The last wish counts: `pilotlight endpoints get` shows it." },
  scan_failed: { exitCode: ExitCode.failed, hint: null },
  file_unusable: { exitCode: ExitCode.failed, hint: "PILOTLIGHT_STATE_DIR chooses another state directory." },
  internal: { exitCode: ExitCode.failed, hint: "PILOTLIGHT_LOG=debug shows where." },
} as const satisfies Record<string, ErrorRow>;
export type CliErrorCode = keyof typeof cliErrors;

/** Ends a command; main prints it and leaves with its exit code. */
export class CliError extends Error {
  readonly code: CliErrorCode;
  readonly hint: string | null;
  readonly details: unknown;
  /** Each wrong place, where there are several. */
  readonly errors: readonly FieldError[];
  constructor(
    code: CliErrorCode,
    message: string,
    hint?: string,
    more: { details?: unknown; errors?: readonly FieldError[]; cause?: unknown } = {},
  ) {
    super(message, { cause: more.cause });
    this.name = "CliError";
    this.code = code;
    this.hint = hint ?? cliErrors[code].hint;
    this.details = more.details;
    this.errors = more.errors ?? [];
  }
}

/** An error as it is shown, and the exit code that goes with it. */
export interface ShownError {
  readonly code: string;
  readonly message: string;
  readonly hint: string | null;
  readonly exitCode: ExitCode;
  readonly details?: unknown;
  readonly errors?: readonly FieldError[];
  readonly requestId?: string;
}

/** Shapes whatever a command threw. A surprise shows its message, never its stack. */
export function shownError(error: unknown): ShownError {
  if (error instanceof CliError) {
    const details = error.details === undefined ? {} : { details: error.details };
    return {
      code: error.code,
      message: error.message,
      hint: error.hint,
      exitCode: cliErrors[error.code].exitCode,
      ...details,
      ...(error.errors.length === 0 ? {} : { errors: error.errors }),
    };
  }
  if (error instanceof PilotlightError) {
    return {
      code: error.code,
      message: error.detail,
      hint: hintOf(error),
      exitCode: exitCodeOf(error),
      ...(error.errors.length === 0 ? {} : { errors: error.errors }),
      ...(error.requestId === undefined ? {} : { requestId: error.requestId }),
    };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { code: "internal", message, hint: cliErrors.internal.hint, exitCode: cliErrors.internal.exitCode };
}

/** The exit code for an answer of the service, by what kind of refusal it is. */
export function exitCodeOf(error: Pick<PilotlightError, "code" | "status">): ExitCode {
  if (error.code === "network_error") return ExitCode.unreachable;
  if (error.code === "wait_timeout") return ExitCode.waitTimeout;
  // 503 to programs, which may try again; but the server is there.
  if (error.code === "queue_paused") return ExitCode.limit;
  switch (error.status) {
    case 401:
    case 403:
      return ExitCode.forbidden;
    case 404:
    case 410:
      return ExitCode.notFound;
    case 402:
    case 429:
      return ExitCode.limit;
    case 502:
    case 503:
    case 504:
      return ExitCode.unreachable;
    default:
      return ExitCode.failed;
  }
}

const HINTS: Readonly<Record<string, string>> = {
  queue_paused: "`pilotlight queue resume <endpoint>` starts it again.",
  queue_full: "`pilotlight queue stats <endpoint>` shows what waits; `endpoints set --queue-depth` lets more wait.",
  storage_full: "`pilotlight queue stats <endpoint>` shows how full it is; another endpoint has storage of its own.",
  budget_exceeded:
    "`pilotlight endpoints set <endpoint> --gpu-seconds-per-day` changes the bound; it is counted by UTC day.",
  operation_limit: "Wait for one of them to end.",
  endpoint_not_found: "`pilotlight endpoints ls` lists them.",
  job_not_found: "`pilotlight jobs ls` lists them.",
  release_not_found: "`pilotlight releases ls <endpoint>` lists them.",
  no_previous_release: "`pilotlight releases activate <endpoint> <number>` activates any of them.",
  release_active: "Make one beside it with `pilotlight deploy --no-activate`, and try that.",
};

function hintOf(error: PilotlightError): string | null {
  const hint = HINTS[error.code];
  if (hint !== undefined) return hint;
  switch (exitCodeOf(error)) {
    case ExitCode.unreachable:
      return "Is the server running? `npm start` starts one here; PILOTLIGHT_API_URL names another.";
    case ExitCode.forbidden:
      return error.status === 401 ? "The key is not known here: check PILOTLIGHT_TOKEN." : null;
    case ExitCode.waitTimeout:
      return error.detail.startsWith("batch_")
        ? "The jobs go on; `pilotlight batch get <batch>` shows them."
        : "The job goes on; `pilotlight jobs watch <job>` shows it.";
    case ExitCode.limit:
      return error.retryAfterS === undefined ? null : `Try again in ${error.retryAfterS} s.`;
    default:
      return null;
  }
}
