/** Every command, in the order `help` shows them. */
import type { Command } from "#cli/command";
import { batchCancel, batchGet, batchResults, batchSubmit } from "#cli/commands/batches";
import { buildDigestOf, buildExport, buildImport, buildScan, buildShow } from "#cli/commands/build";
import { buildsGet, buildsList, buildsPush, buildsRemove, releasesPackage } from "#cli/commands/builds";
import { demo } from "#cli/commands/demo";
import { deploy } from "#cli/commands/deploy";
import { dev } from "#cli/commands/dev";
import { doctor } from "#cli/commands/doctor";
import { endpointsGet, endpointsList, endpointsRemove, endpointsSet, schema } from "#cli/commands/endpoints";
import { filesPut } from "#cli/commands/files";
import { gpusList, gpusReset, gpusSet } from "#cli/commands/gpus";
import { helpAbout } from "#cli/commands/help";
import { importWorkflowFile } from "#cli/commands/import";
import { jobsCancel, jobsGet, jobsList, jobsRetry, jobsWatch, jobsWhy } from "#cli/commands/jobs";
import { keysCreate, keysList, keysRevoke } from "#cli/commands/keys";
import { listen } from "#cli/commands/listen";
import { modelsImport, modelsList, modelsPush, modelsRemove, modelsShow } from "#cli/commands/models";
import { nodeJoin, nodeToken } from "#cli/commands/node";
import {
  nodesCordon,
  nodesDrain,
  nodesList,
  nodesRemove,
  nodesShow,
  nodesTrust,
  nodesUncordon,
  nodesUndrain,
  nodesWatch,
} from "#cli/commands/nodes";
import {
  podsCreate,
  podsList,
  podsRemove,
  podsSet,
  podsShow,
  podsTokensCreate,
  podsTokensList,
  podsTokensRevoke,
} from "#cli/commands/pods";
import {
  queueBump,
  queueDead,
  queueList,
  queuePause,
  queuePurge,
  queueRedrive,
  queueResume,
  queueStats,
  queueWhy,
} from "#cli/commands/queue";
import {
  releasesActivate,
  releasesCanary,
  releasesDiff,
  releasesList,
  releasesLogs,
  releasesRollback,
  releasesShow,
} from "#cli/commands/releases";
import {
  replicasList,
  replicasLogs,
  replicasReplace,
  replicasSeconds,
  replicasShow,
  replicasStop,
} from "#cli/commands/replicas";
import { run } from "#cli/commands/run";
import { cool, scaling, warm } from "#cli/commands/scaling";
import { simulate } from "#cli/commands/simulate";
import { trigger } from "#cli/commands/trigger";
import { usage } from "#cli/commands/usage";
import { version } from "#cli/commands/version";
import {
  webhooksAttempts,
  webhooksCreate,
  webhooksEnable,
  webhooksList,
  webhooksRecover,
  webhooksRedeliver,
  webhooksRemove,
  webhooksRotate,
  webhooksSecret,
  webhooksTest,
} from "#cli/commands/webhooks";

export const commands: readonly Command[] = [
  dev,
  demo,
  importWorkflowFile,
  buildScan,
  buildImport,
  buildShow,
  buildDigestOf,
  buildExport,
  buildsPush,
  buildsList,
  buildsGet,
  buildsRemove,
  deploy,
  run,
  jobsList,
  jobsGet,
  jobsWatch,
  jobsCancel,
  jobsRetry,
  jobsWhy,
  batchSubmit,
  batchGet,
  batchCancel,
  batchResults,
  queueStats,
  queueList,
  queuePause,
  queueResume,
  queuePurge,
  queueBump,
  queueWhy,
  queueDead,
  queueRedrive,
  usage,
  simulate,
  endpointsList,
  endpointsGet,
  endpointsSet,
  endpointsRemove,
  schema,
  scaling,
  warm,
  cool,
  replicasList,
  replicasShow,
  replicasLogs,
  replicasStop,
  replicasReplace,
  replicasSeconds,
  releasesList,
  releasesShow,
  releasesDiff,
  releasesLogs,
  releasesActivate,
  releasesRollback,
  releasesCanary,
  releasesPackage,
  filesPut,
  modelsList,
  modelsShow,
  modelsPush,
  modelsImport,
  modelsRemove,
  webhooksList,
  webhooksCreate,
  webhooksRemove,
  webhooksSecret,
  webhooksRotate,
  webhooksEnable,
  webhooksAttempts,
  webhooksRedeliver,
  webhooksRecover,
  webhooksTest,
  listen,
  trigger,
  keysCreate,
  keysList,
  keysRevoke,
  gpusList,
  gpusSet,
  gpusReset,
  podsList,
  podsShow,
  podsCreate,
  podsSet,
  podsRemove,
  podsTokensList,
  podsTokensCreate,
  podsTokensRevoke,
  nodeJoin,
  nodeToken,
  nodesList,
  nodesShow,
  nodesWatch,
  nodesDrain,
  nodesUndrain,
  nodesCordon,
  nodesUncordon,
  nodesTrust,
  nodesRemove,
  doctor,
  version,
  helpAbout(() => commands),
];
