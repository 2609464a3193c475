/**
 * What an agent relies on when it talks to ComfyUI, in tests that any such server has to pass. They run against the
 * stand-in and against real servers; where the two differ, the real one is right.
 */
import { acceptedValueTests } from "./accepted-values.ts";
import { fileTests } from "./files.ts";
import { httpTests } from "./http.ts";
import { jobTests } from "./jobs.ts";
import { queueTests } from "./queue.ts";
import { runningTests } from "./running.ts";
import type { Contract } from "./servers.ts";
import { socketTests } from "./sockets.ts";
import { submittingTests } from "./submitting.ts";

/** Every test of the protocol. The server must have nothing else to do meanwhile. */
export function protocolTests(contract: Contract): void {
  for (const tests of [
    httpTests,
    submittingTests,
    runningTests,
    queueTests,
    fileTests,
    socketTests,
    jobTests,
    acceptedValueTests,
  ])
    tests(contract);
}
