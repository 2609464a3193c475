/** Models for machines: the bytes of what the workspace has, whole or in ranges. */
import * as z from "zod";
import { SHA256_HEADER } from "#contract/agent";
import { route } from "#contract/api/route";
import { Sha256 } from "#contract/job";
import { Problem } from "#contract/problems";
import { requireNeededModel } from "#worker/auth/node-rights";
import { handleAgent } from "#worker/http/agent-router";
import { problemAnswer } from "#worker/http/answer";
import { chooseRange, ifRangeHolds, noneMatchHits } from "#worker/outputs/range";
import { askModels } from "#worker/placement/objects";

const getAgentModel = route({
  id: "getAgentModel",
  tag: "Agent",
  method: "get",
  path: "/agent/v1/models/{model}",
  summary: "Download a model of the workspace",
  scope: null,
  params: z.object({ model: Sha256 }),
  status: 200,
  returnTypes: ["application/octet-stream"],
  problems: ["model_not_found", "node_not_found", "range_not_satisfiable"],
});

const download = handleAgent(getAgentModel, async ({ env, node, params, request, requestId }) => {
  const { workspaceId } = node;
  // Both are asked at once: of a model in many ranges the one question costs no more time than the other.
  const [{ stored }] = await Promise.all([
    askModels(env, workspaceId, "repeatable", (object) => object.stored(workspaceId, params.model)),
    requireNeededModel(env, node, params.model),
  ]);
  const etag = `"${stored.sha256}"`;
  const headers: Record<string, string> = {
    "content-type": "application/octet-stream",
    "cache-control": "no-store, no-transform",
    "accept-ranges": "bytes",
    etag,
    [SHA256_HEADER]: stored.sha256,
  };
  if (noneMatchHits(request.headers.get("if-none-match"), etag)) return new Response(null, { status: 304, headers });
  const isHead = request.method === "HEAD";
  const asked = !isHead && ifRangeHolds(request.headers.get("if-range"), etag) ? request.headers.get("range") : null;
  const choice = chooseRange(asked, stored.size);
  if (choice.type === "outside") {
    return problemAnswer("range_not_satisfiable", `The model has ${stored.size} bytes.`, requestId, {
      headers: { "content-range": `bytes */${stored.size}` },
    });
  }
  const range = choice.type === "part" ? choice.range : { offset: 0, length: stored.size };
  if (choice.type === "part") {
    headers["content-range"] = `bytes ${range.offset}-${range.offset + range.length - 1}/${stored.size}`;
  }
  headers["content-length"] = String(range.length);
  const status = choice.type === "part" ? 206 : 200;
  if (isHead) return new Response(null, { status, headers });
  const object = await env.STORE.get(stored.key, choice.type === "part" ? { range } : {});
  if (object === null || object.size !== stored.size) {
    throw new Problem("unavailable", "The stored model does not answer.", {
      cause: new Error(`missing ${stored.key}`),
    });
  }
  return new Response(object.body, { status, headers });
});

export const agentModelRoutes = [download];
