/**
 * The stand-in: `node gpu-agent/stand-in/main.ts --port 8188 --base-directory D`.
 *
 * Two thirds of a start are spent stripping types. Node keeps the results for the next start, when it is asked before
 * the first module is loaded; so the program itself is imported after. They lie in the project's own folder: what others can
 * write, they could run.
 */
import { enableCompileCache } from "node:module";
import { fileURLToPath } from "node:url";

enableCompileCache(fileURLToPath(new URL("../../dist/compile-cache", import.meta.url)));
const { runProgram } = await import("./program.ts");
await runProgram(process.argv.slice(2));
