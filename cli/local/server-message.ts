import * as z from "zod";

/** What the server's process tells the one that started it, once. */
export const ServerMessage = z.discriminatedUnion("type", [
  z.object({ type: z.literal("ready"), url: z.string(), isFirstStart: z.boolean() }),
  /** Another process serves the state folder. */
  z.object({ type: z.literal("running"), detail: z.string(), url: z.string().nullable() }),
  z.object({ type: z.literal("failed"), detail: z.string() }),
]);
export type ServerMessage = z.infer<typeof ServerMessage>;
