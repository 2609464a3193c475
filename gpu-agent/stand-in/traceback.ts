/** Where an error came from, shaped like the lines of Python's `traceback.format_tb`. */
import path from "node:path";
import { fileURLToPath } from "node:url";

const HERE = path.dirname(fileURLToPath(import.meta.url));
/** Deeper frames say nothing more about a node. */
const FRAMES_MAX = 20;

/** Outermost call first, one text per frame, each ending in a line break. Files are named from the stand-in's folder. */
export function tracebackOf(error: Error): string[] {
  const frames = (error.stack ?? "").split("\n").flatMap((line) => {
    const found = /^\s+at (?:async )?(?:(.+?) \()?(?:file:\/\/)?(\/[^():]+):(\d+):\d+\)?$/.exec(line);
    if (found === null) return [];
    const [, name = "<module>", file = "", lineNumber = "0"] = found;
    return [`  File "stand-in/${path.relative(HERE, file)}", line ${lineNumber}, in ${name}\n`];
  });
  return frames.slice(0, FRAMES_MAX).reverse();
}
