/** What can go wrong between the agent and the server. */
import { type ProblemBody, ProblemBody as ProblemSchema } from "#contract/problems";
import type { HttpAnswer } from "../http-request.ts";

/** Longest wait that a Retry-After header may ask for. */
const RETRY_AFTER_MS_MAX = 60_000;

/**
 * `code` is null when the server did not answer, or when what answered was not the server (a proxy's error page, for
 * example): such an answer decides nothing, so it is always worth another try.
 */
export class ControlError extends Error {
  readonly code: string | null;
  readonly status: number | null;
  readonly retryable: boolean;
  readonly retryAfterMs: number;
  constructor(
    message: string,
    more: { code?: string; status?: number; retryable: boolean; retryAfterMs?: number; cause?: unknown },
  ) {
    super(message, { cause: more.cause });
    this.name = "ControlError";
    this.code = more.code ?? null;
    this.status = more.status ?? null;
    this.retryable = more.retryable;
    this.retryAfterMs = Math.min(more.retryAfterMs ?? 0, RETRY_AFTER_MS_MAX);
  }
}

export function problemError(problem: ProblemBody, retryAfterMs = 0): ControlError {
  return new ControlError(`${problem.code}: ${problem.detail}`, {
    code: problem.code,
    status: problem.status,
    retryable: problem.retryable,
    retryAfterMs,
  });
}

/** Turns an answer outside 2xx into an error. Reads the body. */
export async function refusedError(answer: HttpAnswer): Promise<ControlError> {
  const text = await answer.text().catch(() => "");
  const retryAfterS = Number(answer.header("retry-after") ?? "0");
  const retryAfterMs = Number.isFinite(retryAfterS) && retryAfterS > 0 ? retryAfterS * 1_000 : 0;
  const problem = parseProblem(text);
  if (problem !== null) return problemError(problem, retryAfterMs);
  return new ControlError(`HTTP ${answer.status} from something that is not the server`, {
    status: answer.status,
    retryable: true,
    retryAfterMs,
  });
}

function parseProblem(text: string): ProblemBody | null {
  try {
    const result = ProblemSchema.safeParse(JSON.parse(text));
    return result.success ? result.data : null;
  } catch {
    return null;
  }
}

/** Codes that say: the lease, or what it hangs on, is gone. A missing file or release is another matter. */
const GONE: ReadonlySet<string | null> = new Set([
  "lease_lost",
  "not_found",
  "job_not_found",
  "replica_not_found",
  "endpoint_not_found",
  "node_not_found",
  "unauthenticated",
]);

/** The lease or replica is gone for good: nothing sent about it can count any more. */
export function isGone(error: unknown): boolean {
  return error instanceof ControlError && !error.retryable && GONE.has(error.code);
}

/** The node's session is not taken any more: it must join again. */
export function isSessionLost(error: unknown): boolean {
  return error instanceof ControlError && !error.retryable && (error.status === 401 || error.status === 404);
}

/** The pod does not take the machine's cards as it is set now. */
export function isUnwanted(error: unknown): error is ControlError {
  return error instanceof ControlError && error.code === "gpu_mismatch";
}
