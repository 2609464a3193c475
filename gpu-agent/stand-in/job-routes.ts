/** The routes of the jobs API, which newer servers have. */
import { isJsonObject, type Json, parseExactJson } from "#contract/exact-json";
import { json, type Reply, type Request, type Route } from "./http-server.ts";
import { JobQueryError, Jobs } from "./jobs.ts";
import { isCanonicalUuid } from "./prompt-submission.ts";
import { pythonRepr } from "./python-values.ts";
import type { RouteParts } from "./routes.ts";

/** `/api/jobs…`; there is no bare form of these. */
export function jobRoutes({ queue, history, executor }: RouteParts): Route[] {
  const jobs = new Jobs(queue, history);
  const cancel = (id: string): boolean => jobs.cancel(id, () => executor.interrupt());
  return [
    {
      method: "GET",
      path: "/api/jobs",
      isExact: true,
      handler: ({ query }) => {
        try {
          return json(jobs.list(query));
        } catch (error) {
          if (error instanceof JobQueryError) return json({ error: error.message }, 400);
          throw error;
        }
      },
    },
    {
      method: "POST",
      path: "/api/jobs/cancel",
      isExact: true,
      handler: async (request) => await cancelSeveral(request, cancel),
    },
    {
      method: "GET",
      path: "/api/jobs/{job_id}",
      isExact: true,
      handler: ({ params: { job_id: id = "" } }) => {
        const job = jobs.get(id);
        return job === undefined ? json({ error: "Job not found" }, 404) : json(job);
      },
    },
    {
      method: "POST",
      path: "/api/jobs/{job_id}/cancel",
      isExact: true,
      handler: ({ params: { job_id: id = "" } }) => json({ cancelled: cancel(id) }),
    },
  ];
}

async function cancelSeveral(request: Request, cancel: (id: string) => boolean): Promise<Reply> {
  let body: Json;
  try {
    body = parseExactJson((await request.bytes()).toString("utf8"), { pythonNumbers: true });
  } catch {
    return json({ error: "Request body must be valid JSON" }, 400);
  }
  const ids = isJsonObject(body) ? body.job_ids : undefined;
  if (!Array.isArray(ids)) return json({ error: "job_ids must be a list" }, 400);
  const invalid = ids.filter((id) => !isCanonicalUuid(id)).map((id) => (typeof id === "string" ? id : pythonRepr(id)));
  if (invalid.length > 0) return json({ error: "job_ids contains invalid id(s)", invalid_ids: invalid }, 400);
  const cancelled = ids.filter(isCanonicalUuid).map(cancel);
  return json({ cancelled: cancelled.includes(true) });
}
