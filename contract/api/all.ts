/** The whole public API, in the order the reference shows it. */
import { createKey, getHealth, getMe, listKeys, revokeKey } from "#contract/api/access";
import {
  createEndpoint,
  deleteEndpoint,
  getEndpoint,
  getEndpointSchema,
  getQueue,
  listEndpoints,
  listReplicas,
  patchEndpoint,
} from "#contract/api/endpoints";
import { getFile, uploadFile } from "#contract/api/files";
import { cancelJob, createJob, getJob, getJobEvents, getOutput, listJobs } from "#contract/api/jobs";
import { createJoinToken, listNodes, listPods } from "#contract/api/pods";
import type { Route } from "#contract/api/route";

export const routes: readonly Route[] = [
  createEndpoint,
  listEndpoints,
  getEndpoint,
  patchEndpoint,
  deleteEndpoint,
  getEndpointSchema,
  getQueue,
  listReplicas,
  createJob,
  listJobs,
  getJob,
  getJobEvents,
  cancelJob,
  getOutput,
  uploadFile,
  getFile,
  listPods,
  listNodes,
  createJoinToken,
  getMe,
  createKey,
  listKeys,
  revokeKey,
  getHealth,
];
