/** Small model files for tests, and a server that has them. */

/** A safetensors file of one tensor of `bytes` bytes, each `fill`. */
export function safetensors(bytes: number, fill = 1): Uint8Array<ArrayBuffer> {
  const header = new TextEncoder().encode(
    JSON.stringify({ weight: { dtype: "U8", shape: [bytes], data_offsets: [0, bytes] } }),
  );
  const file = new Uint8Array(8 + header.byteLength + bytes).fill(fill);
  new DataView(file.buffer).setBigUint64(0, BigInt(header.byteLength), true);
  file.set(header, 8);
  return file;
}

export interface FileServer {
  /** Requests that came, in their order. */
  readonly seen: { readonly url: string; readonly headers: Headers }[];
  readonly answer: (input: RequestInfo | URL, init?: RequestInit) => Promise<Response>;
}

export interface ServedFile {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly etag?: string;
  readonly ranges?: boolean;
  readonly headers?: Record<string, string>;
}

/** Answers as a file server does. @param files by address, or an answer of their own for each request */
export function fileServer(
  files: Readonly<Record<string, ServedFile | ((headers: Headers, request: number) => Response)>>,
): FileServer {
  const seen: { url: string; headers: Headers }[] = [];
  return {
    seen,
    answer: async (input, init) => {
      const url = String(input instanceof Request ? input.url : input);
      const headers = new Headers(init?.headers);
      seen.push({ url, headers });
      const file = files[url];
      if (file === undefined) return new Response("no", { status: 404 });
      return typeof file === "function" ? file(headers, seen.length) : served(file, headers);
    },
  };
}

/** A file's answer to a request with or without Range and If-Range. */
export function served({ bytes, etag, ranges = true, headers = {} }: ServedFile, asked: Headers): Response {
  const range = /^bytes=([0-9]+)-([0-9]+)$/.exec(asked.get("range") ?? "");
  const tagged = etag === undefined ? headers : { ...headers, etag };
  const isSame = asked.get("if-range") === null || asked.get("if-range") === etag;
  if (range === null || !ranges || !isSame) {
    return new Response(bytes, { headers: { ...tagged, "content-length": String(bytes.byteLength) } });
  }
  const [first, last] = [Number(range[1]), Math.min(Number(range[2]), bytes.byteLength - 1)];
  return new Response(bytes.subarray(first, last + 1), {
    status: 206,
    headers: { ...tagged, "content-range": `bytes ${first}-${last}/${bytes.byteLength}` },
  });
}
