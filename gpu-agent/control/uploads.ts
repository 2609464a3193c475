/** Sends outputs to the server: a small one in one request, a large one in parts. */

import type * as z from "zod";
import { SHA256_HEADER, StartedMultipart, UploadedPart } from "#contract/agent";
import { type AgentCalls, type LeaseProof, leaseRequest, SLOWEST_BYTES_PER_MS } from "./agent-calls.ts";
import { ControlError } from "./control-error.ts";

/** Bytes altered on the way, or parts that the store has lost, are sent again this often. */
const TRIES_MAX = 3;
/** Up to this size an output is sent as one piece of memory: a Blob's stream takes longer than all its bytes. */
const ONE_PIECE_BYTES_MAX = 1024 * 1024;

export interface Upload {
  readonly index: number;
  readonly size: number;
  readonly sha256: string;
  readonly contentType: string;
  /** Read again for each try. */
  readonly body: Blob | Uint8Array<ArrayBuffer>;
}

export interface UploadLimits {
  readonly putBytesMax: number;
  readonly partBytes: number;
}

interface Sending {
  readonly calls: AgentCalls;
  readonly lease: LeaseProof;
  readonly upload: Upload;
  readonly limits: UploadLimits;
  /** A small one may be on its way when this is done: the complete that names it finds out whether it arrived. */
  readonly mayBeOnItsWay: boolean;
  /** Gives the hash of one part. */
  readonly sha256Of: (part: Blob) => Promise<string>;
  readonly signal: AbortSignal;
}

/**
 * Uploads one output; tries again until it is stored.
 * @throws ControlError when the server refuses it for good
 */
export async function uploadOutput(sending: Sending): Promise<void> {
  const { upload, limits, calls, lease } = sending;
  if (sending.mayBeOnItsWay && upload.size <= limits.putBytesMax) {
    const { index, size, sha256, contentType } = upload;
    const output = { index, size, sha256, content_type: contentType };
    if (await calls.sendAhead(lease, output, () => inMemory(upload.body))) return;
  }
  for (let tries = 1; ; tries += 1) {
    try {
      return upload.size <= limits.putBytesMax ? await putWhole(sending) : await putParts(sending);
    } catch (error) {
      const isLost = error instanceof ControlError && isAboutBytes(error);
      if (!isLost || tries >= TRIES_MAX) throw error;
    }
  }
}

/** The same request again would fail again; the whole output again may not. */
function isAboutBytes(error: ControlError): boolean {
  return error.code === "output_missing" || error.code === "checksum_mismatch";
}

async function putWhole({ calls, lease, upload, signal }: Sending): Promise<void> {
  const { client } = calls;
  const base = leaseRequest(lease, `outputs/${upload.index}`);
  const bytes = upload.size <= ONE_PIECE_BYTES_MAX ? await inMemory(upload.body) : upload.body;
  const request = {
    ...base,
    method: "PUT",
    headers: { ...base.headers, "content-type": upload.contentType, [SHA256_HEADER]: upload.sha256 },
    bytes,
    timeoutMs: timeoutFor(calls, upload.size),
    signal,
  } as const;
  await client.persist("output", () => client.done(request), signal, isAboutBytes);
}

async function inMemory(body: Upload["body"]): Promise<Uint8Array<ArrayBuffer>> {
  return body instanceof Blob ? new Uint8Array(await body.arrayBuffer()) : body;
}

async function putParts({ calls, lease, upload, limits, sha256Of, signal }: Sending): Promise<void> {
  const { client } = calls;
  const whole = upload.body instanceof Blob ? upload.body : new Blob([upload.body]);
  const below = `outputs/${upload.index}/multipart`;
  const start = {
    ...leaseRequest(lease, below),
    json: { size: upload.size, sha256: upload.sha256, content_type: upload.contentType },
    signal,
  };
  const { upload_id } = await client.persist("multipart", () => client.json(StartedMultipart, start), signal);
  const parts: z.infer<typeof UploadedPart>[] = [];
  for (let at = 0; at < upload.size; at += limits.partBytes) {
    const part = whole.slice(at, Math.min(at + limits.partBytes, upload.size));
    const path = `${below}/${parts.length + 1}?upload_id=${encodeURIComponent(upload_id)}`;
    const base = leaseRequest(lease, path);
    const headers = {
      ...base.headers,
      "content-type": "application/octet-stream",
      [SHA256_HEADER]: await sha256Of(part),
    };
    const timeoutMs = timeoutFor(calls, part.size);
    const request = { ...base, method: "PUT", headers, bytes: part, timeoutMs, signal } as const;
    const attempt = () => client.json(UploadedPart, request);
    parts.push(await client.persist("output_part", attempt, signal, isAboutBytes));
  }
  const finish = {
    ...leaseRequest(lease, `${below}/complete`),
    json: { upload_id, parts },
    // Joining thousands of parts takes the store a while.
    timeoutMs: client.timings.callMs * 4,
    signal,
  };
  await client.persist("multipart_complete", () => client.done(finish), signal, isAboutBytes);
}

function timeoutFor(calls: AgentCalls, bytes: number): number {
  return calls.client.timings.callMs + Math.ceil(bytes / SLOWEST_BYTES_PER_MS);
}
