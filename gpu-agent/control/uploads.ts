/** Sends outputs to the server: a small one in one request, a large one in parts. */

import * as z from "zod";
import { SHA256_HEADER, StartedMultipart, UploadedPart } from "#contract/agent";
import type { AgentCalls, LeaseProof } from "./agent-calls.ts";
import { leaseRequest } from "./agent-calls.ts";

/** The slowest link that is still waited for, bytes per ms. */
const SLOWEST_BYTES_PER_MS = 64;

export interface Upload {
  readonly index: number;
  readonly size: number;
  readonly sha256: string;
  readonly contentType: string;
  /** Read again for each try. */
  readonly body: Blob;
}

export interface UploadLimits {
  readonly putBytesMax: number;
  readonly partBytes: number;
}

/**
 * Uploads one output; tries again until it is stored.
 * @param sha256OfPart gives the hash of one part
 * @throws ControlError when the server refuses it for good
 */
export async function uploadOutput(
  calls: AgentCalls,
  lease: LeaseProof,
  upload: Upload,
  limits: UploadLimits,
  sha256OfPart: (part: Blob) => Promise<string>,
  signal: AbortSignal,
): Promise<void> {
  const { client } = calls;
  const timeoutFor = (bytes: number) => client.timings.callMs + Math.ceil(bytes / SLOWEST_BYTES_PER_MS);
  const below = `outputs/${upload.index}`;
  const base = leaseRequest(lease, below);

  if (upload.size <= limits.putBytesMax) {
    const request = {
      ...base,
      method: "PUT",
      headers: { ...base.headers, "content-type": upload.contentType, [SHA256_HEADER]: upload.sha256 },
      bytes: upload.size === 0 ? new Uint8Array(0) : upload.body,
      timeoutMs: timeoutFor(upload.size),
      signal,
    } as const;
    await client.persist("output", () => client.json(z.unknown(), request), signal);
    return;
  }

  const start = {
    ...leaseRequest(lease, `${below}/multipart`),
    json: { size: upload.size, sha256: upload.sha256, content_type: upload.contentType },
    signal,
  };
  const { upload_id } = await client.persist("multipart", () => client.json(StartedMultipart, start), signal);
  const parts: z.infer<typeof UploadedPart>[] = [];
  for (let at = 0; at < upload.size; at += limits.partBytes) {
    const part = upload.body.slice(at, Math.min(at + limits.partBytes, upload.size));
    const number = parts.length + 1;
    const path = `${below}/multipart/${number}?upload_id=${encodeURIComponent(upload_id)}`;
    const partBase = leaseRequest(lease, path);
    const request = {
      ...partBase,
      method: "PUT",
      headers: {
        ...partBase.headers,
        "content-type": "application/octet-stream",
        [SHA256_HEADER]: await sha256OfPart(part),
      },
      bytes: part,
      timeoutMs: timeoutFor(part.size),
      signal,
    } as const;
    parts.push(await client.persist("output_part", () => client.json(UploadedPart, request), signal));
  }
  const finish = {
    ...leaseRequest(lease, `${below}/multipart/complete`),
    json: { upload_id, parts },
    // Joining thousands of parts takes the store a while.
    timeoutMs: client.timings.callMs * 4,
    signal,
  };
  await client.persist("multipart_complete", () => client.json(z.unknown(), finish), signal);
}
