/** How many replicas an endpoint has and wants, for a terminal. */
import { duration, textTable } from "#cli/text-table";
import type { Scaling } from "#contract/api/scaling";

/** Columns of the plot: what fits beside its axis on the narrowest terminals. */
const PLOT_WIDTH = 60;
/** Rows of the plot at most; more replicas than this share rows. */
const PLOT_HEIGHT = 8;

/** @param nowMs the plot's right end, Unix ms */
export function scalingText(scaling: Scaling, nowMs: number): string[] {
  const { replicas, waiting, warm, decisions } = scaling;
  const have = replicas.starting + replicas.idle + replicas.busy;
  const measured = [
    scaling.cold_start_s === null ? "no start measured yet" : `a start takes ${duration(scaling.cold_start_s * 1_000)}`,
    scaling.service_s === null ? "no job measured yet" : `a job ${duration(scaling.service_s * 1_000)}`,
  ];
  return [
    `replicas  ${have} of ${scaling.wanted} wanted (floor ${scaling.floor}, ceiling ${scaling.ceiling}): ${replicas.busy} busy, ${replicas.idle} idle, ${replicas.starting} starting, ${replicas.draining} draining`,
    `waiting   ${waiting.interactive} interactive, ${waiting.batch} batch`,
    `policy    ${scaling.policy}; ${measured.join(", ")}`,
    `reason    ${scaling.reason === "" ? "nothing has been decided yet" : scaling.reason}`,
    ...(warm === null ? [] : [`warm      ${warm.replicas} by hand until ${warm.until}`]),
    ...(decisions.length === 0 ? [] : ["", ...plot(decisions, nowMs), "", ...decisionTable(decisions)]),
  ];
}

function decisionTable(decisions: Scaling["decisions"]): string[] {
  const rows = decisions.map(({ at, from, to, reason }) => [at, `${from} -> ${to}`, reason]);
  return textTable(["decided", "replicas", "reason"], rows);
}

/** Replicas over the time that the decisions span: a column is as high as the most there were in its stretch of time. */
function plot(decisions: Scaling["decisions"], nowMs: number): string[] {
  const steps = decisions.map(({ at, from, to }) => ({ at: Date.parse(at), from, to })).toReversed();
  const start = steps[0]?.at ?? nowMs;
  const span = Math.max(1, nowMs - start);
  const most = Math.max(1, ...steps.map(({ from, to }) => Math.max(from, to)));
  const columns = Array.from({ length: PLOT_WIDTH }, (_, column) => {
    const begin = start + (span * column) / PLOT_WIDTH;
    const end = start + (span * (column + 1)) / PLOT_WIDTH;
    const before = steps.findLast(({ at }) => at <= begin)?.to ?? steps[0]?.from ?? 0;
    return Math.max(before, ...steps.filter(({ at }) => at > begin && at <= end).map(({ to }) => to));
  });
  const height = Math.min(PLOT_HEIGHT, most);
  const rows = Array.from({ length: height }, (_, row) => {
    const level = Math.ceil((most * (height - row)) / height);
    const filled = columns.map((count) => (count >= level ? "#" : " ")).join("");
    return `${String(level).padStart(4)} |${filled}`.trimEnd();
  });
  const ago = `${duration(span)} ago`;
  return [...rows, `   0 +${"-".repeat(PLOT_WIDTH)}`, `      ${ago}${"now".padStart(PLOT_WIDTH - ago.length)}`];
}
