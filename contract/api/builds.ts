import * as z from "zod";
import { PageQuery, page } from "#contract/api/page";
import { ReleaseParams } from "#contract/api/releases";
import { route } from "#contract/api/route";
import { BUILD_BYTES_MAX, BuildManifest, StandaloneRelease } from "#contract/build";
import { Sha256 } from "#contract/job";

const tag = "Builds";

/** A build in lists: what tells it from others. */
export const BuildSummary = z
  .object({
    digest: Sha256.meta({ description: "The build's name: sha256 of its canonical manifest" }),
    comfyui: z.string().meta({ description: "ComfyUI's version" }),
    python: z.string(),
    custom_nodes: z.int().nonnegative(),
    models: z.int().nonnegative(),
    model_bytes: z.int().nonnegative(),
    created_at: z.iso.datetime(),
  })
  .meta({ id: "BuildSummary" });
export type BuildSummary = z.infer<typeof BuildSummary>;

export const Build = BuildSummary.extend({ manifest: BuildManifest }).meta({ id: "Build" });
export type Build = z.infer<typeof Build>;

const BuildParams = z.object({ digest: Sha256 });

export const createBuild = route({
  id: "createBuild",
  tag,
  method: "post",
  path: "/v1/builds",
  summary: "Register a build: what a release needs on a GPU, pinned",
  description:
    "Content-addressed: the same build again gives the same digest, whatever the order of its lists. Where its models come from does not change a build; the sources sent last are those that machines try.",
  scope: "deploy",
  body: BuildManifest,
  bodyBytesMax: BUILD_BYTES_MAX,
  idempotent: "catalog",
  status: 201,
  returns: Build,
  alsoReturns: { 200: "The build was already there" },
  problems: ["build_limit"],
});
export const listBuilds = route({
  id: "listBuilds",
  tag,
  method: "get",
  path: "/v1/builds",
  summary: "Builds of the workspace, newest first",
  scope: "read",
  query: PageQuery,
  status: 200,
  returns: page(BuildSummary),
  problems: ["invalid_cursor"],
});
export const getBuild = route({
  id: "getBuild",
  tag,
  method: "get",
  path: "/v1/builds/{digest}",
  summary: "Get a build with its manifest",
  scope: "read",
  params: BuildParams,
  status: 200,
  returns: Build,
  problems: ["build_not_found"],
});
export const deleteBuild = route({
  id: "deleteBuild",
  tag,
  method: "delete",
  path: "/v1/builds/{digest}",
  summary: "Delete a build that no release uses",
  description:
    "Releases are kept, so a build goes only when no release of a living endpoint names it. Machines that have made it remove it by themselves when they need its room.",
  scope: "deploy",
  params: BuildParams,
  status: 204,
  problems: ["build_not_found", "build_in_use"],
});
export const getStandalone = route({
  id: "getStandaloneRelease",
  tag,
  method: "get",
  path: "/v1/endpoints/{endpoint}/releases/{number}/standalone",
  summary: "A release with its build: all that a machine must be given",
  description:
    "Build manifest, workflow, input schema, the object_info it was made with and its smoke test, in one document.",
  scope: "read",
  params: ReleaseParams,
  status: 200,
  returns: StandaloneRelease,
  problems: ["endpoint_not_found", "release_not_found", "build_not_found"],
});
