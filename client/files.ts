import type { CallOptions, Transport } from "#client/transport";
import { SHA256_HEADER } from "#contract/agent";
import { type File as FileRecord, getFile, uploadFile } from "#contract/api/files";

export interface UploadOptions extends CallOptions {
  readonly filename?: string | undefined;
  /** Guessed by the server when left out. */
  readonly contentType?: string | undefined;
  /** 64 hexadecimal digits; the server refuses other bytes. */
  readonly sha256?: string | undefined;
}

/** Input files: uploaded once, used by id. The same bytes give the same file. */
export class Files {
  readonly #transport: Transport;
  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Uploads a whole file. May be repeated by the client: the same bytes are the same file. */
  upload(content: Blob | Uint8Array<ArrayBuffer>, options: UploadOptions = {}): Promise<FileRecord> {
    const typeOfBlob = content instanceof Blob && content.type !== "" ? content.type : undefined;
    return this.#transport.call(uploadFile, {
      query: options.filename === undefined ? {} : { filename: options.filename },
      headers: options.sha256 === undefined ? {} : { [SHA256_HEADER]: options.sha256 },
      rawBody: { contentType: options.contentType ?? typeOfBlob ?? "application/octet-stream", content },
      repeatable: true,
      signal: options.signal,
    });
  }

  get(file: string, options: CallOptions = {}): Promise<FileRecord> {
    return this.#transport.call(getFile, { params: { file }, ...options });
  }
}
