/** A real HTTP server whose answers a test scripts, one after the other. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";

export interface SeenRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}
export type Answer = (request: SeenRequest, response: ServerResponse) => void | Promise<void>;

export interface ScriptedServer {
  readonly url: string;
  readonly seen: readonly SeenRequest[];
}

/** Starts it; it ends with the test. The last answer is repeated. */
export async function scriptedServer(...answers: readonly Answer[]): Promise<ScriptedServer> {
  const seen: SeenRequest[] = [];
  const server = createServer((request, response) => {
    const pieces: Buffer[] = [];
    request.on("data", (piece: Buffer) => pieces.push(piece));
    request.on("end", () => {
      const { method = "", url = "", headers } = request;
      const now: SeenRequest = { method, url, headers, body: Buffer.concat(pieces).toString("latin1") };
      const answer = answers[Math.min(seen.length, answers.length - 1)];
      seen.push(now);
      void answer?.(now, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(() => resolve()));
  });
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, seen };
}

/** Answers JSON. */
export function json(status: number, body: unknown, headers: Record<string, string> = {}): Answer {
  return (_, response) => {
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(typeof body === "string" ? body : JSON.stringify(body));
  };
}

/** Closes the connection without an answer. */
export const hangUp: Answer = (_, response) => {
  response.destroy();
};

export function problem(
  status: number,
  code: string,
  retryable: boolean,
  headers: Record<string, string> = {},
): Answer {
  return json(
    status,
    {
      type: `/docs/problems#${code}`,
      title: code,
      status,
      code,
      detail: `because ${code}`,
      request_id: "req_1",
      retryable,
    },
    { "content-type": "application/problem+json", ...headers },
  );
}
