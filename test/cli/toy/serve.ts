/** Runs the local server for a project folder and a state folder, and tells on standard output how it goes. */
import { startLocalServer } from "#cli/local/server";
import { stateFolderAt } from "#cli/local/state-folder";

const [projectRoot = "", stateRoot = "", port = "0", loopback = "refused"] = process.argv.slice(2);
const tell = (message: Record<string, unknown>) => process.stdout.write(`${JSON.stringify(message)}\n`);
try {
  const { url, credentials, isFirstStart } = await startLocalServer({
    projectRoot,
    state: stateFolderAt(stateRoot),
    port: Number(port),
    allowLoopbackUrls: loopback === "allowed",
    report: (line) => tell({ report: line }),
  });
  tell({ ready: url, key: credentials.key, isFirstStart });
} catch (error) {
  tell({ failed: error instanceof Error ? error.message : String(error) });
  process.exitCode = 1;
}
