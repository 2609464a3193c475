/** Packs of the Comfy Registry: an id and a version become an archive, and the archive a folder. */
import { createHash } from "node:crypto";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import { dirname, join } from "node:path";
import * as z from "zod";
import { guardUrl } from "#contract/public-url";
import { readZipDirectory, readZipEntry } from "#workflow/sources/zip";
import { messageOf } from "../log.ts";
import { guardedLookup, type Reach, systemResolver } from "../models/public-address.ts";
import { BuildFailed } from "./build-failed.ts";

/** Packs are code; the largest known ones hold example pictures of some tens of MB. Read into memory as a whole. */
const ARCHIVE_BYTES_MAX = 256 * 1024 * 1024;
const UNPACKED_BYTES_MAX = 1024 * 1024 * 1024;
const ANSWER_BYTES_MAX = 1024 * 1024;
const REDIRECTS_MAX = 5;
/** Nothing for so long: the server is gone. */
const SILENT_MS = 30_000;
const TRIES_MAX = 3;

export interface PackRegistrySettings {
  /** Such as https://api.comfy.org; a mirror has the same paths. */
  readonly url: string;
  readonly reach: Reach;
}

export interface RegistryPack {
  readonly name: string;
  readonly id: string;
  readonly registryVersion: string;
}

/** What the registry says of a version; the rest of it is for people. */
const PackVersion = z.object({ downloadUrl: z.string() });

/**
 * Brings a pack and unpacks it into a folder; what is in the folder goes first.
 * @returns the archive's sha256, for the record: the registry publishes none
 * @throws BuildFailed pack_missing, fetch_failed; the signal's reason
 */
export async function unpackFromRegistry(
  pack: RegistryPack,
  folder: string,
  settings: PackRegistrySettings,
  signal: AbortSignal,
): Promise<string> {
  const title = `${pack.id} ${pack.registryVersion}`;
  const path = `nodes/${encodeURIComponent(pack.id)}/versions/${encodeURIComponent(pack.registryVersion)}`;
  const answer = await get(`${settings.url.replace(/\/+$/, "")}/${path}`, ANSWER_BYTES_MAX, title, settings, signal);
  const version = PackVersion.safeParse(parseJson(answer));
  if (!version.success) throw new BuildFailed("fetch_failed", `The registry does not say where ${title} is.`);
  const archive = await get(version.data.downloadUrl, ARCHIVE_BYTES_MAX, title, settings, signal);
  await unpack(archive, folder, title);
  return createHash("sha256").update(archive).digest("hex");
}

async function unpack(archive: Uint8Array, folder: string, title: string): Promise<void> {
  const broken = (fault: string) => new BuildFailed("fetch_failed", `The archive of ${title} is not taken: ${fault}`);
  const directory = readZipDirectory(archive);
  if (!directory.ok) throw broken(directory.fault);
  let left = UNPACKED_BYTES_MAX;
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  for (const entry of directory.entries) {
    const parts = entry.name.split("/");
    // A path of the archive is joined to a folder of the machine.
    if (/[\\\0:]/.test(entry.name) || parts.some((part) => part === "" || part === "." || part === "..")) {
      throw broken(`it holds a file called ${JSON.stringify(entry.name.slice(0, 200))}.`);
    }
    const read = await readZipEntry(archive, entry, left);
    if (!read.ok) throw broken(read.fault);
    left -= read.content.byteLength;
    const path = join(folder, ...parts);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, read.content);
  }
}

async function get(
  url: string,
  bytesMax: number,
  title: string,
  settings: PackRegistrySettings,
  signal: AbortSignal,
): Promise<Buffer> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await getOnce(url, bytesMax, title, settings, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof BuildFailed) throw error;
      if (tries < TRIES_MAX) continue;
      const host = URL.parse(url)?.host ?? "the registry";
      throw new BuildFailed("fetch_failed", `${title} cannot be fetched from ${host}: ${messageOf(error)}`);
    }
  }
}

async function getOnce(
  url: string,
  bytesMax: number,
  title: string,
  settings: PackRegistrySettings,
  signal: AbortSignal,
): Promise<Buffer> {
  let next = url;
  for (let redirects = 0; redirects <= REDIRECTS_MAX; redirects += 1) {
    const verdict = guardUrl(next, { allowLoopback: settings.reach !== "public", ownHosts: [] });
    if (!verdict.ok)
      throw new BuildFailed("fetch_failed", `${title} is at an address that is not taken. ${verdict.reason}`);
    const message = await begin(verdict.url, settings.reach, signal);
    const status = message.statusCode ?? 0;
    const { location } = message.headers;
    if (status >= 300 && status < 400 && location !== undefined) {
      message.destroy();
      next = new URL(location, verdict.url).href;
      continue;
    }
    if (status === 404) {
      message.destroy();
      throw new BuildFailed("pack_missing", `The registry has no ${title}.`);
    }
    if (status !== 200) {
      message.destroy();
      throw new Error(`the server answered ${status}`);
    }
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const part of message) {
      const chunk = part as Buffer;
      size += chunk.byteLength;
      if (size > bytesMax) {
        throw new BuildFailed("fetch_failed", `${title} has more than ${bytesMax} bytes, more than a pack may have.`);
      }
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  }
  throw new Error("it is redirected without end");
}

function begin(url: URL, reach: Reach, signal: AbortSignal): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const send = url.protocol === "https:" ? httpsRequest : httpRequest;
    const request = send(url, { signal, lookup: guardedLookup(systemResolver, reach), timeout: SILENT_MS });
    request.on("timeout", () => request.destroy(new Error("the server is silent")));
    request.on("error", reject);
    request.on("response", resolve);
    request.end();
  });
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch {
    return null;
  }
}
