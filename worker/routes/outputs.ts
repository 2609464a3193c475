/** Downloading outputs: with a key, or by a signed link. */
import { getOutput, JobParams } from "#contract/api/jobs";
import { ownerKey, type WorkspaceId } from "#contract/ids";
import { Problem } from "#contract/problems";
import { authenticate } from "#worker/auth/api-key";
import { requireScope } from "#worker/auth/principal";
import { invalidLink, isSignedLink, verifySignedLink } from "#worker/auth/signed-link";
import { findKeyOwner } from "#worker/catalog/endpoints";
import type { Arrival } from "#worker/http/call";
import { errorAnswer } from "#worker/http/error-handler";
import { isProblem } from "#worker/http/is-problem";
import { type Mounted, readCall } from "#worker/http/router";
import { downloadAnswer } from "#worker/outputs/download";
import { rememberedOutput } from "#worker/outputs/remembered-outputs";
import { askEndpoint } from "#worker/placement/objects";
import { ownJobKey, unknownJob } from "#worker/placement/own-endpoint";

/** Not `handle`: this is the one route that a signature opens instead of a key. */
const download: Mounted = {
  method: getOutput.method,
  path: getOutput.path,
  answer: async (arrival, rawParams) => {
    if (!isSignedLink(arrival.url)) return answerOutput(arrival, rawParams, false);
    let answer: Response;
    try {
      answer = await answerOutput(arrival, rawParams, true);
    } catch (error) {
      // A page that loads the link must be able to read why it cannot.
      answer = errorAnswer(error, arrival.requestId, arrival.request.method, arrival.url.pathname);
    }
    answer.headers.set("access-control-allow-origin", "*");
    answer.headers.set("access-control-expose-headers", EXPOSED_HEADERS);
    answer.headers.set("cross-origin-resource-policy", "cross-origin");
    return answer;
  },
};

const EXPOSED_HEADERS = "content-disposition, content-length, content-range, etag, request-id, retry-after";

async function answerOutput(arrival: Arrival, rawParams: Record<string, string>, signed: boolean): Promise<Response> {
  const workspaceId = signed ? await workspaceOfLink(arrival, rawParams.job) : await workspaceOfKey(arrival);
  if (!signed) await readCall(getOutput, arrival, rawParams);
  const params = JobParams.safeParse({ job: rawParams.job });
  if (!params.success) throw unknownJob();
  const jobId = params.data.job;
  const known = rememberedOutput(workspaceId, jobId, rawParams.name, Date.now());
  if (known !== undefined) {
    try {
      return await downloadAnswer(arrival.env, arrival.request, arrival.requestId, known, false);
    } catch (error) {
      // Deleted since then, as the job's object will say, or out of reach as before.
      if (!isProblem(error, "unavailable")) throw error;
    }
  }
  const key = await ownJobKey(arrival.env, workspaceId, jobId);
  const { job } = await askEndpoint(arrival.env, key, "repeatable", (endpoint) => endpoint.getJob(workspaceId, jobId));
  const output = job.outputs.find((one) => one.name === rawParams.name);
  if (output === undefined) throw new Problem("output_not_found", "The job has no output of that name.");
  return downloadAnswer(arrival.env, arrival.request, arrival.requestId, output, job.outputsExpired);
}

export const outputRoutes = [download];

async function workspaceOfKey(arrival: Arrival): Promise<WorkspaceId> {
  const principal = await authenticate(arrival.env, arrival.request);
  requireScope(principal, getOutput.scope);
  return principal.workspaceId;
}

/** A link names no workspace; the job's id leads to it, and the signature must be that workspace's. */
async function workspaceOfLink(arrival: Arrival, rawJob: string | undefined): Promise<WorkspaceId> {
  const params = JobParams.safeParse({ job: rawJob });
  if (!params.success) throw invalidLink();
  const owner = await findKeyOwner(arrival.env.CATALOG, ownerKey(params.data.job));
  if (owner === undefined) throw invalidLink();
  await verifySignedLink(arrival.env.SIGNING_SECRET, arrival.url, owner.workspaceId);
  return owner.workspaceId;
}
