/** The stand-in's own corner: what it is, its faults, and when prompts ran. */
import { json, type Route } from "./http-server.ts";
import type { RouteParts } from "./routes.ts";

/** `/`, `/stand-in/faults` and `/stand-in/executions`. */
export function standInRoutes({ faults, clients, history, executions }: RouteParts): Route[] {
  const path = "/stand-in/faults";
  return [
    {
      method: "GET",
      path: "/",
      isExact: true,
      handler: () => ({
        status: 200,
        headers: { "Content-Type": "text/plain; charset=utf-8" },
        body: "This is the Pilotlight stand-in for ComfyUI: it speaks its protocol and has no editor and no models.\n",
      }),
    },
    {
      method: "GET",
      path: "/stand-in/executions",
      isExact: true,
      handler: () => json(executions.list().map((each) => ({ ...each }))),
    },
    { method: "GET", path, isExact: true, handler: () => json(faults.asJson()) },
    {
      method: "DELETE",
      path,
      isExact: true,
      handler: () => {
        faults.reset();
        return json(faults.asJson());
      },
    },
    {
      method: "POST",
      path,
      isExact: true,
      handler: async (request) => {
        const body = await request.json();
        try {
          const actions = faults.change(body);
          if (actions.dropSockets) clients.dropAll();
          if (actions.clearHistory) history.clear();
          if (actions.hangMs > 0) setTimeout(() => blockThread(actions.hangMs), 20);
          return json(faults.asJson());
        } catch (error) {
          if (error instanceof TypeError) return json({ error: error.message }, 400);
          throw error;
        }
      },
    },
  ];
}

/** Stops the whole program for a while: no request is answered, no frame is sent, and no signal is heard. */
function blockThread(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
