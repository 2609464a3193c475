/** The id under which a machine asks to join, kept until it has: an answer that got lost must not cost a second node. */
import { readFile, rm } from "node:fs/promises";
import * as z from "zod";
import { PollId } from "#contract/agent";
import { writeFileAtomically } from "../state-directory.ts";
import { newPollId } from "./agent-calls.ts";
import { tokenHash } from "./node-session.ts";

const StoredJoin = z.strictObject({ join_id: PollId, url: z.string(), join_token_sha256: z.string() });

/**
 * The id of the join that is under way, or a fresh one, which is on the disk before anybody sends it.
 * @param url the server; another one, like another token, is another join
 * @throws what the disk says when it does not take the file
 */
export async function beginJoin(path: string, url: string, joinToken: string): Promise<string> {
  const hash = tokenHash(joinToken) ?? "";
  const stored = await storedJoin(path);
  if (stored?.url === url && stored.join_token_sha256 === hash) return stored.join_id;
  const join = { join_id: newPollId(), url, join_token_sha256: hash };
  await writeFileAtomically(path, `${JSON.stringify(join)}\n`, 0o600);
  return join.join_id;
}

/** The machine has joined, and has its session on its disk: the next join is another one. */
export async function endJoin(path: string): Promise<void> {
  await rm(path, { force: true });
}

async function storedJoin(path: string): Promise<z.infer<typeof StoredJoin> | null> {
  try {
    return StoredJoin.parse(JSON.parse(await readFile(path, "utf8")));
  } catch {
    return null;
  }
}
