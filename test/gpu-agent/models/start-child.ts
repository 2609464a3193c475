/** Starting and killing store-child.ts. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { onCleanUp } from "./model-files.ts";
import type { ChildTask } from "./store-child.ts";

const PROGRAM = fileURLToPath(new URL("store-child.ts", import.meta.url));

export interface StoreChild {
  /** Resolves when the child has said so; rejects when it ends before. */
  said(line: string): Promise<void>;
  /** kill -9, and waits until it is gone. */
  kill(): Promise<void>;
}

interface ChildSurroundings {
  /** A command that runs the child, with its arguments after its own. */
  readonly inside?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

export function startChild(task: ChildTask, { inside = [], environment = {} }: ChildSurroundings = {}): StoreChild {
  const [command = process.execPath, ...rest] = [...inside, process.execPath, PROGRAM, JSON.stringify(task)];
  const child: ChildProcess = spawn(command, rest, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...environment },
  });
  const lines = new Set<string>();
  const heard: (() => void)[] = [];
  let errors = "";
  let isOver = false;
  const tell = () => {
    for (const each of heard.splice(0)) each();
  };
  child.stderr?.on("data", (chunk: Buffer) => {
    errors += chunk.toString();
  });
  if (child.stdout !== null) {
    createInterface({ input: child.stdout }).on("line", (line) => {
      lines.add(line);
      tell();
    });
  }
  const ended = once(child, "close").then(() => {
    isOver = true;
    tell();
  });
  const kill = async () => {
    child.kill("SIGKILL");
    await ended;
  };
  onCleanUp(kill);
  return {
    kill,
    said: async (line) => {
      while (!lines.has(line)) {
        // Lines may still be on their way from a child that has ended, until its pipes are closed as well.
        if (isOver) throw new Error(`the child ended without saying ${line}: ${errors}`);
        await new Promise<void>((resolve) => heard.push(resolve));
      }
    },
  };
}
