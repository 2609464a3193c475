/** Every command, in the order `help` shows them. */
import type { Command } from "#cli/command";
import { demo } from "#cli/commands/demo";
import { deploy } from "#cli/commands/deploy";
import { dev } from "#cli/commands/dev";
import { doctor } from "#cli/commands/doctor";
import { endpointsGet, endpointsList, endpointsRemove, queueStats, schema } from "#cli/commands/endpoints";
import { filesPut } from "#cli/commands/files";
import { helpAbout } from "#cli/commands/help";
import { jobsCancel, jobsGet, jobsList, jobsWatch } from "#cli/commands/jobs";
import { keysCreate, keysList, keysRevoke } from "#cli/commands/keys";
import { nodeJoin, nodeList, nodeToken } from "#cli/commands/node";
import { run } from "#cli/commands/run";
import { version } from "#cli/commands/version";

export const commands: readonly Command[] = [
  dev,
  demo,
  deploy,
  run,
  jobsList,
  jobsGet,
  jobsWatch,
  jobsCancel,
  queueStats,
  endpointsList,
  endpointsGet,
  endpointsRemove,
  schema,
  filesPut,
  keysCreate,
  keysList,
  keysRevoke,
  nodeJoin,
  nodeList,
  nodeToken,
  doctor,
  version,
  helpAbout(() => commands),
];
