import * as z from "zod";
import { EndpointParams } from "#contract/api/endpoints";
import { PageQuery, page } from "#contract/api/page";
import { route } from "#contract/api/route";
import { NewCanary } from "#contract/canary";
import { Endpoint, NewRelease } from "#contract/endpoint";
import { RELEASES_PER_ENDPOINT_MAX, WORKFLOW_BODY_BYTES_MAX } from "#contract/limits";
import { EndpointRelease, ReleaseDiff, Rollback } from "#contract/release";

/** A release's number, as an address or a query names it. */
const ReleaseNumber = z.coerce.number().int().min(1).max(RELEASES_PER_ENDPOINT_MAX);
export const ReleaseParams = EndpointParams.extend({ number: ReleaseNumber });
const tag = "Releases";

export const createRelease = route({
  id: "createRelease",
  tag,
  method: "post",
  path: "/v1/endpoints/{endpoint}/releases",
  summary: "Make a release of an endpoint, and activate it unless told otherwise",
  description:
    "As PATCH of the endpoint does, with an Idempotency-Key and the release as the answer. Without `workflow`, the active release's is imported again.",
  scope: "deploy",
  params: EndpointParams,
  body: NewRelease,
  bodyBytesMax: WORKFLOW_BODY_BYTES_MAX,
  idempotent: "catalog",
  status: 201,
  returns: EndpointRelease,
  alsoReturns: { 200: "The active release says the same already, or the newest one when it is not to be activated" },
  problems: ["endpoint_not_found", "invalid_workflow", "workflow_format_ui", "release_limit"],
});
export const listReleases = route({
  id: "listReleases",
  tag,
  method: "get",
  path: "/v1/endpoints/{endpoint}/releases",
  summary: "Releases of an endpoint, newest first",
  scope: "read",
  params: EndpointParams,
  query: PageQuery,
  status: 200,
  returns: page(EndpointRelease),
  problems: ["endpoint_not_found", "invalid_cursor"],
});
export const getRelease = route({
  id: "getRelease",
  tag,
  method: "get",
  path: "/v1/endpoints/{endpoint}/releases/{number}",
  summary: "Get a release, with its graph on request",
  scope: "read",
  params: ReleaseParams,
  query: z.object({
    graph: z.enum(["true", "false"]).default("false").meta({ description: "true: with the workflow, as it runs" }),
  }),
  status: 200,
  returns: EndpointRelease,
  problems: ["endpoint_not_found", "release_not_found"],
});
export const diffReleases = route({
  id: "diffReleases",
  tag,
  method: "get",
  path: "/v1/endpoints/{endpoint}/releases/{number}/diff",
  summary: "What a release changes against another one",
  scope: "read",
  params: ReleaseParams,
  query: z.object({
    from: ReleaseNumber.optional().meta({ description: "The other release; the active one when left out" }),
  }),
  status: 200,
  returns: ReleaseDiff,
  problems: ["endpoint_not_found", "release_not_found"],
});
export const activateRelease = route({
  id: "activateRelease",
  tag,
  method: "post",
  path: "/v1/endpoints/{endpoint}/releases/{number}/activate",
  summary: "Make new jobs run on this release",
  description:
    "Jobs already accepted keep the release they were accepted with, whether they wait or run. Activating the active release changes nothing.",
  scope: "deploy",
  params: ReleaseParams,
  status: 200,
  returns: Endpoint,
  problems: ["endpoint_not_found", "release_not_found"],
});
export const setCanary = route({
  id: "setCanary",
  tag,
  method: "post",
  path: "/v1/endpoints/{endpoint}/releases/{number}/canary",
  summary: "Let a part of the new jobs run on this release",
  description:
    "Each new job is drawn by chance; batches, retries and inputs that this release does not take stay with the active release. When it fails more often or executes longer than the active release by more than the bounds, it gets no more jobs, by itself. Setting it again begins to count anew; weight 0, or activating any release, ends it.",
  scope: "deploy",
  params: ReleaseParams,
  body: NewCanary,
  status: 200,
  returns: Endpoint,
  problems: ["endpoint_not_found", "release_not_found", "release_active"],
});
export const rollbackRelease = route({
  id: "rollbackRelease",
  tag,
  method: "post",
  path: "/v1/endpoints/{endpoint}/rollback",
  summary: "Activate the release that was active before the present one",
  description:
    "Nothing is built or imported again. Called again, it goes one further back. Jobs already accepted keep their release.",
  scope: "deploy",
  params: EndpointParams,
  body: Rollback,
  idempotent: "catalog",
  status: 200,
  returns: Endpoint,
  problems: ["endpoint_not_found", "no_previous_release", "release_not_active"],
});
