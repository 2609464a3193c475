import * as z from "zod";
import { EndpointParams } from "#contract/api/endpoints";
import { PageQuery, page } from "#contract/api/page";
import { route } from "#contract/api/route";
import { NewCanary } from "#contract/canary";
import { Endpoint, NewRelease } from "#contract/endpoint";
import { RELEASES_PER_ENDPOINT_MAX, WORKFLOW_BODY_BYTES_MAX } from "#contract/limits";
import { Activation, EndpointRelease, ReleaseDiff, Rollback } from "#contract/release";
import { Force } from "#contract/verification";
import { wholeNumber } from "#contract/whole-number";

/** A release's number, as an address or a query names it. */
const ReleaseNumber = wholeNumber(1, RELEASES_PER_ENDPOINT_MAX);
export const ReleaseParams = EndpointParams.extend({ number: ReleaseNumber });
const tag = "Releases";
/** How long the caller waits for the release to have its place. */
const WaitHeaders = z.object({
  prefer: z
    .string()
    .optional()
    .meta({ examples: ["wait=30"] }),
});
const WAIT_WORDS =
  "`Prefer: wait=N` (N ≤ 60 seconds) holds the answer until the release has its place: 200, or 202 when it still waits by then, or 409 `release_failed` when it cannot run.";
const STILL_WAITS = { 202: "The release still waits to be ready (Prefer: wait); the old one stays active until then" };

export const createRelease = route({
  id: "createRelease",
  tag,
  method: "post",
  path: "/v1/endpoints/{endpoint}/releases",
  summary: "Make a release of an endpoint, and activate it unless told otherwise",
  description:
    "As PATCH of the endpoint does, with an Idempotency-Key and the release as the answer. Without `workflow`, the active release's is imported again. Where the active release has run on a GPU, the new one becomes active once it has, too; the endpoint's `pending` says how far it is.",
  scope: "deploy",
  params: EndpointParams,
  body: NewRelease,
  bodyBytesMax: WORKFLOW_BODY_BYTES_MAX,
  idempotent: "catalog",
  status: 201,
  returns: EndpointRelease,
  alsoReturns: { 200: "The active release, or the newest one, says the same already: no other one is made" },
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
export const getReleaseLogs = route({
  id: "getReleaseLogs",
  tag,
  method: "get",
  path: "/v1/endpoints/{endpoint}/releases/{number}/logs",
  summary: "What came of trying a release on the machines, line by line",
  description:
    "Lines of text, oldest first: when, on which type of card, by which replica, and what. With `Accept: text/event-stream` each line is an event `line` (its data is a ReleaseLogLine, its id the line's number), until the release is ready, has failed, or is not waited for any more: then comes `end`, whose data has the release's `state`. A stream goes on after `Last-Event-ID`. The last 1,000 lines are kept.",
  scope: "read",
  params: ReleaseParams,
  headers: z.object({ "last-event-id": z.string().max(40).optional() }),
  status: 200,
  returnTypes: ["text/plain", "text/event-stream"],
  problems: ["endpoint_not_found", "release_not_found", "too_many_watchers"],
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
  description: `Jobs already accepted keep the release they were accepted with, whether they wait or run. Where the active release has run on a GPU, a release that has not been ready before waits until it has run on every type of card that the endpoint's pods have online: the answer has \`pending\`, and the old release stays active until then. The last wish counts: another activation takes the place of one that waits, and activating the active release only ends it. With \`force\` it is at once. ${WAIT_WORDS}`,
  scope: "deploy",
  params: ReleaseParams,
  headers: WaitHeaders,
  body: Activation,
  bodyOptional: true,
  status: 200,
  returns: Endpoint,
  alsoReturns: STILL_WAITS,
  problems: ["endpoint_not_found", "release_not_found", "release_failed", "release_not_active"],
});
export const setCanary = route({
  id: "setCanary",
  tag,
  method: "post",
  path: "/v1/endpoints/{endpoint}/releases/{number}/canary",
  summary: "Let a part of the new jobs run on this release",
  description: `Each new job is drawn by chance; batches, retries and inputs that this release does not take stay with the active release. When it fails more often or executes longer than the active release by more than the bounds, it gets no more jobs, by itself. Setting it again begins to count anew; weight 0, or activating any release, ends it. A release that was not ready yet waits as it does to be activated (\`pending\`), or gets its jobs at once with \`force\`. ${WAIT_WORDS}`,
  scope: "deploy",
  params: ReleaseParams,
  headers: WaitHeaders,
  body: NewCanary.extend({ force: Force.default(false) }).meta({ id: "CanaryRequest" }),
  status: 200,
  returns: Endpoint,
  alsoReturns: STILL_WAITS,
  problems: ["endpoint_not_found", "release_not_found", "release_active", "release_failed", "release_not_active"],
});
export const rollbackRelease = route({
  id: "rollbackRelease",
  tag,
  method: "post",
  path: "/v1/endpoints/{endpoint}/rollback",
  summary: "Activate the release that was active before the present one",
  description:
    "Nothing is built or imported again. Called again, it goes one further back. Jobs already accepted keep their release. A release that was ready before is active at once; another one waits as it does to be activated (`pending`), unless `force` is given.",
  scope: "deploy",
  params: EndpointParams,
  body: Rollback,
  idempotent: "catalog",
  status: 200,
  returns: Endpoint,
  problems: ["endpoint_not_found", "no_previous_release", "release_not_active"],
});
