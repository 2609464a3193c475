import * as z from "zod";
import { PageQuery, page } from "#contract/api/page";
import { route } from "#contract/api/route";
import { Endpoint, EndpointPatch, EndpointSchema, NewEndpoint, Slug } from "#contract/endpoint";
import { EndpointId } from "#contract/ids";
import { WORKFLOW_BODY_BYTES_MAX } from "#contract/limits";

/** An endpoint's slug or its id. */
export const EndpointParams = z.object({ endpoint: z.union([EndpointId, Slug]) });
const tag = "Endpoints";

export const createEndpoint = route({
  id: "createEndpoint",
  tag,
  method: "post",
  path: "/v1/endpoints",
  summary: "Create an endpoint from a workflow",
  scope: "deploy",
  body: NewEndpoint,
  bodyBytesMax: WORKFLOW_BODY_BYTES_MAX,
  idempotent: "catalog",
  status: 201,
  returns: Endpoint,
  problems: ["slug_taken", "invalid_workflow", "workflow_format_ui", "pod_not_found", "endpoint_limit"],
});
export const listEndpoints = route({
  id: "listEndpoints",
  tag,
  method: "get",
  path: "/v1/endpoints",
  summary: "List endpoints, by slug",
  scope: "read",
  query: PageQuery,
  status: 200,
  returns: page(Endpoint),
  problems: ["invalid_cursor"],
});
export const getEndpoint = route({
  id: "getEndpoint",
  tag,
  method: "get",
  path: "/v1/endpoints/{endpoint}",
  summary: "Get an endpoint with its active release",
  scope: "read",
  params: EndpointParams,
  status: 200,
  returns: Endpoint,
  problems: ["endpoint_not_found"],
});
export const patchEndpoint = route({
  id: "patchEndpoint",
  tag,
  method: "patch",
  path: "/v1/endpoints/{endpoint}",
  summary: "Change an endpoint's settings, or give it a new workflow",
  description:
    "With `workflow`, `overrides`, `object_info` or `view_comfy`, a new release is made, unless it says the same as the active one (or, when it is not to be activated, as the newest), and activated, unless `activate` is false; jobs already accepted keep theirs.",
  scope: "deploy",
  params: EndpointParams,
  body: EndpointPatch,
  bodyBytesMax: WORKFLOW_BODY_BYTES_MAX,
  status: 200,
  returns: Endpoint,
  problems: ["endpoint_not_found", "invalid_workflow", "workflow_format_ui", "release_limit"],
});
export const deleteEndpoint = route({
  id: "deleteEndpoint",
  tag,
  method: "delete",
  path: "/v1/endpoints/{endpoint}",
  summary: "Delete an endpoint; its waiting and running jobs are canceled",
  scope: "deploy",
  params: EndpointParams,
  status: 204,
  problems: ["endpoint_not_found"],
});
export const getEndpointSchema = route({
  id: "getEndpointSchema",
  tag,
  method: "get",
  path: "/v1/endpoints/{endpoint}/schema",
  summary: "JSON Schema of inputs and outputs of the active release",
  scope: "read",
  params: EndpointParams,
  status: 200,
  returns: EndpointSchema,
  problems: ["endpoint_not_found"],
});
