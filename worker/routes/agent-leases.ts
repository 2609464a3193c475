/** Leases: progress, inputs, outputs, and how an attempt ends. */
import * as z from "zod";
import {
  CompleteLease,
  CompleteLeaseAnswer,
  CompleteMultipart,
  FailLease,
  LeaseProgress,
  LeaseProgressAnswer,
  NewMultipart,
  ReleaseLease,
  SHA256_HEADER,
  StartedMultipart,
  UploadedPart,
} from "#contract/agent";
import { route } from "#contract/api/route";
import { jobIdOf, LeaseId } from "#contract/ids";
import { FILE_BYTES_MAX, OUTPUT_PART_BYTES, OUTPUTS_PER_JOB_MAX, WORKFLOW_BODY_BYTES_MAX } from "#contract/limits";
import { outputKey } from "#contract/output-keys";
import { Problem } from "#contract/problems";
import { wholeNumber } from "#contract/whole-number";
import type { EndpointRpc, LeaseProof, Reply } from "#durable-objects/endpoint/rpc";
import { reportedOutputs } from "#durable-objects/outputs/stored-outputs";
import type { NodeSession } from "#worker/auth/node-session";
import { handleAgent, leaseProof } from "#worker/http/agent-router";
import { emptyAnswer } from "#worker/http/answer";
import type { Arrival } from "#worker/http/call";
import { isProblem } from "#worker/http/is-problem";
import { statedHash } from "#worker/http/stated-hash";
import { completeMultipart, putOutput, putPart, startMultipart } from "#worker/outputs/upload";
import { agentEndpointKey } from "#worker/placement/agent-endpoint";
import { askEndpoint, type Repeatable } from "#worker/placement/objects";

const tag = "Agent";
const base = { tag, scope: null, status: 200 } as const;
const LeaseParams = z.object({ lease: LeaseId });
const Index = wholeNumber(0, OUTPUTS_PER_JOB_MAX - 1);
const IndexParams = LeaseParams.extend({ index: Index });
const PART_MAX = 10_000;
const UploadId = z.string().min(1).max(2_000);

const routes = {
  progress: route({
    ...base,
    id: "leaseProgress",
    method: "post",
    path: "/agent/v1/leases/{lease}/progress",
    summary: "Progress and heartbeat; renews the lease",
    params: LeaseParams,
    body: LeaseProgress,
    returns: LeaseProgressAnswer,
    problems: ["lease_lost"],
  }),
  complete: route({
    ...base,
    id: "completeLease",
    method: "post",
    path: "/agent/v1/leases/{lease}/complete",
    summary: "The attempt succeeded; every output is stored",
    params: LeaseParams,
    body: CompleteLease,
    // A thousand outputs with texts take more than an ordinary body.
    bodyBytesMax: WORKFLOW_BODY_BYTES_MAX,
    returns: CompleteLeaseAnswer,
    problems: ["lease_lost", "output_missing", "output_conflict"],
  }),
  fail: route({
    ...base,
    id: "failLease",
    method: "post",
    path: "/agent/v1/leases/{lease}/fail",
    summary: "The attempt failed",
    params: LeaseParams,
    body: FailLease,
    problems: ["lease_lost"],
  }),
  release: route({
    ...base,
    id: "releaseLease",
    method: "post",
    path: "/agent/v1/leases/{lease}/release",
    summary: "Give the job back unfinished",
    params: LeaseParams,
    body: ReleaseLease,
    problems: ["lease_lost"],
  }),
  input: route({
    ...base,
    id: "getLeaseInput",
    method: "get",
    path: "/agent/v1/leases/{lease}/inputs/{index}",
    summary: "Download a file input",
    params: IndexParams,
    returnTypes: ["*/*"],
    problems: ["lease_lost", "file_not_found"],
  }),
  output: route({
    ...base,
    id: "putLeaseOutput",
    method: "put",
    path: "/agent/v1/leases/{lease}/outputs/{index}",
    summary: "Store an output",
    params: IndexParams,
    // Any type: what it is, is said in its header and judged when it is served.
    bodyBytesMax: FILE_BYTES_MAX,
    problems: ["lease_lost", "length_required", "checksum_mismatch", "output_conflict"],
  }),
  startMultipart: route({
    ...base,
    id: "startOutputParts",
    method: "post",
    path: "/agent/v1/leases/{lease}/outputs/{index}/multipart",
    summary: "Begin an output in parts",
    params: IndexParams,
    body: NewMultipart,
    returns: StartedMultipart,
    problems: ["lease_lost"],
  }),
  putPart: route({
    ...base,
    id: "putOutputPart",
    method: "put",
    path: "/agent/v1/leases/{lease}/outputs/{index}/multipart/{part}",
    summary: "Store one part",
    params: IndexParams.extend({ part: wholeNumber(1, PART_MAX) }),
    query: z.object({ upload_id: UploadId }),
    bodyBytesMax: OUTPUT_PART_BYTES,
    returns: UploadedPart,
    problems: ["lease_lost", "length_required", "checksum_mismatch", "output_missing"],
  }),
  completeMultipart: route({
    ...base,
    id: "completeOutputParts",
    method: "post",
    path: "/agent/v1/leases/{lease}/outputs/{index}/multipart/complete",
    summary: "Join the parts",
    params: IndexParams,
    body: CompleteMultipart,
    problems: ["lease_lost", "output_missing", "output_conflict"],
  }),
};

type LeaseCall = Arrival & { readonly node: NodeSession; readonly params: { readonly lease: LeaseId } };

/** One call of the lease's object, with the proof. Every message about a lease may arrive twice. */
async function askLease<T extends object>(
  call: LeaseCall,
  ask: (endpoint: EndpointRpc, proof: LeaseProof) => Promise<Reply<T>>,
  repeatable: Repeatable = "repeatable",
): Promise<T> {
  const proof = leaseProof(call, call.params.lease);
  const key = await agentEndpointKey(call.env, call.node.workspaceId, call.params.lease);
  return askEndpoint(call.env, key, repeatable, (endpoint) => ask(endpoint, proof));
}

/** Asks the object whether the lease is live. @throws Problem lease_lost */
function askGrant(call: LeaseCall): Promise<object> {
  return askLease(call, (endpoint, proof) => endpoint.grantOutput(proof));
}

/** The R2 key of an output of the lease. */
function keyOf(call: LeaseCall, index: number): string {
  const { workspaceId, leaseId, token } = leaseProof(call, call.params.lease);
  return outputKey(workspaceId, jobIdOf(leaseId), token, index);
}

/** The R2 key of an output, once the object has said that the lease is live. */
async function grantedKey(call: LeaseCall, index: number): Promise<string> {
  await askGrant(call);
  return keyOf(call, index);
}

const progress = handleAgent(routes.progress, async (call) => {
  const { answer } = await askLease(call, (endpoint, proof) => endpoint.progress(proof, call.body));
  return answer;
});

const complete = handleAgent(routes.complete, async (call) => {
  const proof = leaseProof(call, call.params.lease);
  const outputs = await reportedOutputs(call.env.STORE, proof, call.body.outputs, () => isLive(call));
  const { next } = await askLease(call, (endpoint) => endpoint.complete(proof, call.body, outputs));
  return { next };
});

async function isLive(call: LeaseCall): Promise<boolean> {
  try {
    await askGrant(call);
    return true;
  } catch (error) {
    if (isProblem(error, "lease_lost")) return false;
    throw error;
  }
}

const fail = handleAgent(routes.fail, async (call) => {
  await askLease(call, (endpoint, proof) => endpoint.fail(proof, call.body));
  return emptyAnswer();
});

const release = handleAgent(routes.release, async (call) => {
  await askLease(call, (endpoint, proof) => endpoint.release(proof, call.body.reason));
  return emptyAnswer();
});

const input = handleAgent(routes.input, async (call) => {
  const { file } = await askLease(call, (endpoint, proof) => endpoint.inputFile(proof, call.params.index));
  const object = await call.env.STORE.get(file.key);
  if (object === null || object.size !== file.size) {
    throw new Problem("file_not_found", "The input file is no longer stored.");
  }
  return new Response(object.body, {
    headers: {
      "content-type": "application/octet-stream",
      "content-length": String(file.size),
      "cache-control": "no-store",
      [SHA256_HEADER]: file.sha256,
    },
  });
});

const output = handleAgent(routes.output, async (call) => {
  const sha256 = statedHash(call.request);
  if (sha256 === undefined) throw new Problem("malformed_request", `Send the file's sha256 in ${SHA256_HEADER}.`);
  const key = keyOf(call, call.params.index);
  await putOutput(call.env.STORE, key, () => askGrant(call), call.request, sha256);
  return emptyAnswer();
});

const start = handleAgent(routes.startMultipart, async (call) => ({
  upload_id: await startMultipart(call.env.STORE, await grantedKey(call, call.params.index), call.body),
}));

const part = handleAgent(routes.putPart, async (call) => {
  const { params, query } = call;
  const key = await grantedKey(call, params.index);
  const sha256 = statedHash(call.request);
  const etag = await putPart(call.env.STORE, key, query.upload_id, params.part, call.request, sha256);
  return { part: params.part, etag };
});

const join = handleAgent(routes.completeMultipart, async (call) => {
  const { upload_id, parts } = call.body;
  await completeMultipart(call.env.STORE, await grantedKey(call, call.params.index), upload_id, parts);
  return emptyAnswer();
});

export const agentLeaseRoutes = [progress, complete, fail, release, input, output, start, part, join];
