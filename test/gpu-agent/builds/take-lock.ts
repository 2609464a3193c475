/** Takes a lock again and again and says whether it was alone: `node take-lock.ts FOLDER TURNS`. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { waitForLock } from "#gpu-agent/builds/build-lock";

const [folder = "", turns = "0"] = process.argv.slice(2);
const inside = join(folder, "inside");
for (let turn = 0; turn < Number(turns); turn += 1) {
  const unlock = await waitForLock(folder, "x", new AbortController().signal, () => undefined);
  try {
    // Made by one process at a time, or not at all.
    writeFileSync(inside, String(process.pid), { flag: "wx" });
    rmSync(inside);
    process.stdout.write("alone\n");
  } catch {
    process.stdout.write("met another\n");
  }
  unlock();
}
