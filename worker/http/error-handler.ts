import { Problem, problems } from "#contract/problems";
import { answerFor, problemAnswer } from "#worker/http/answer";

/** Text of the errors a Durable Object or the platform throws, as far as we read it. */
interface PlatformError {
  readonly overloaded?: boolean;
  readonly retryable?: boolean;
}

/**
 * The one place where a thrown thing becomes an answer. A Problem says what it says; a part of the platform that does
 * not answer is 503; anything else is 500 and shows only its request id. The log line has no inputs and no secrets.
 */
export function errorAnswer(error: unknown, requestId: string, method: string, path: string): Response {
  if (error instanceof Problem) {
    if (problems[error.code].status >= 500 || error.cause !== undefined) {
      log("request_refused", requestId, method, path, { code: error.code, cause: messageOf(error.cause) });
    }
    return answerFor(error, requestId);
  }
  if (isUnavailable(error)) {
    log("part_unavailable", requestId, method, path, { cause: messageOf(error) });
    return problemAnswer("unavailable", "A part of the service does not answer; try again shortly.", requestId, {
      retryAfterS: 2,
    });
  }
  log("request_failed", requestId, method, path, { cause: messageOf(error), stack: stackOf(error) });
  return problemAnswer(
    "internal",
    `Something went wrong on our side. Give this id when you ask: ${requestId}.`,
    requestId,
  );
}

/** R2's code for a fault of its own. */
const R2_FAULT = /\(10001\)$/;
/** A full disk, in SQLite's words; a database that fails for such a reason, in the runtime's. */
const STORAGE_FAULT = /SQLITE_(?:FULL|IOERR)|^internal error; reference = /;

/** An overloaded or restarting object, or a database or store that does not answer. */
export function isUnavailable(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const { overloaded, retryable } = cause as PlatformError;
    if (overloaded === true || retryable === true) return true;
    if (R2_FAULT.test(cause.message) || STORAGE_FAULT.test(cause.message)) return true;
    if (cause.message.startsWith("D1_ERROR") && !cause.message.includes("SQLITE_CONSTRAINT")) return true;
  }
  return false;
}

function log(
  event: string,
  requestId: string,
  method: string,
  path: string,
  more: Record<string, string | undefined>,
): void {
  console.error(JSON.stringify({ event, requestId, method, path, ...more }));
}

/** The first line of an error, cut: SQL statements carry parameters in later ones. */
function messageOf(error: unknown): string | undefined {
  if (error === undefined) return undefined;
  const innermost = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const text = innermost instanceof Error ? `${innermost.name}: ${innermost.message}` : typeof innermost;
  return text.split("\n", 1)[0]?.slice(0, 300);
}

/** Where it happened: frames only, because the first lines of a stack repeat the message. */
function stackOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  return error.stack
    ?.split("\n")
    .filter((line) => line.trimStart().startsWith("at "))
    .slice(0, 6)
    .join(" ");
}
