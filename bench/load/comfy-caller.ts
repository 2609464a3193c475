/** The shortest way to a picture: straight to ComfyUI, a prompt in, a socket that says when, the file out. */
import { randomUUID } from "node:crypto";
import * as z from "zod";
import { Connection } from "#bench/load/connection";

const Executed = z.object({
  type: z.literal("executed"),
  data: z.object({
    prompt_id: z.string(),
    output: z.object({
      images: z.array(z.object({ filename: z.string(), subfolder: z.string(), type: z.string() })).min(1),
    }),
  }),
});
const Queued = z.object({ prompt_id: z.string() });

/** One prompt at a time on one connection and one socket. */
export class ComfyCaller {
  readonly #connection: Connection;
  readonly #socket: WebSocket;
  readonly #clientId: string;
  #hear: (message: z.infer<typeof Executed>) => void = () => undefined;

  private constructor(connection: Connection, socket: WebSocket, clientId: string) {
    this.#connection = connection;
    this.#socket = socket;
    this.#clientId = clientId;
    socket.addEventListener("message", ({ data }) => {
      const message = typeof data === "string" ? Executed.safeParse(JSON.parse(data)) : null;
      if (message?.success === true) this.#hear(message.data);
    });
  }

  static async open(url: string): Promise<ComfyCaller> {
    const clientId = randomUUID();
    const socket = new WebSocket(`${url.replace(/^http/, "ws")}/ws?clientId=${clientId}`);
    await new Promise((resolve, reject) => {
      socket.addEventListener("open", resolve, { once: true });
      socket.addEventListener("error", () => reject(new Error("ComfyUI's socket does not open")), { once: true });
    });
    return new ComfyCaller(await Connection.open(url), socket, clientId);
  }

  /** @returns the bytes of the first picture that the graph saves */
  async picture(graph: object): Promise<Buffer> {
    const promptId = randomUUID();
    const executed = new Promise<z.infer<typeof Executed>>((resolve) => {
      this.#hear = (message) => {
        if (message.data.prompt_id === promptId) resolve(message);
      };
    });
    const answer = await this.#connection.send({
      method: "POST",
      path: "/prompt",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ prompt: graph, client_id: this.#clientId, prompt_id: promptId }),
    });
    if (answer.status !== 200) throw new Error(`ComfyUI answered ${answer.status} ${answer.body.toString()}`);
    if (Queued.parse(JSON.parse(answer.body.toString())).prompt_id !== promptId) {
      throw new Error("ComfyUI chose an id of its own");
    }
    const [image] = (await executed).data.output.images;
    const view = await this.#connection.send({
      method: "GET",
      path: `/view?${new URLSearchParams(image ?? {}).toString()}`,
    });
    if (view.status !== 200) throw new Error(`ComfyUI answered ${view.status}`);
    return view.body;
  }

  close(): void {
    this.#socket.close();
    this.#connection.close();
  }
}
