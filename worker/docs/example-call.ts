import type { Route } from "#contract/api/route";

/** A name for each parameter of a path, as a reader would fill it. */
const EXAMPLES: Readonly<Record<string, string>> = {
  endpoint: "text-to-image",
  job: "job_…",
  name: "image-0.png",
  file: "file_…",
  key: "key_…",
  pod: "pod_…",
};

const BODIES: Readonly<Record<string, string>> = {
  createEndpoint: '{"slug": "text-to-image", "workflow": {…}}',
  patchEndpoint: '{"settings": {"max_replicas": 4}}',
  createJob: '{"inputs": {"prompt": "a fox in the snow"}}',
  createJoinToken: '{"expires_in": 3600}',
  createKey: '{"name": "my app", "scopes": ["run", "read"]}',
};

/** A curl command that calls the route. */
export function exampleCall(route: Route, origin: string): string {
  const path = route.path.replaceAll(/\{([a-z_]+)\}/g, (_whole, name: string) => EXAMPLES[name] ?? "…");
  const lines = [`curl ${route.method === "get" ? "" : `-X ${route.method.toUpperCase()} `}${origin}${path}`];
  if (route.scope !== null) lines.push('-H "Authorization: Bearer $PILOTLIGHT_TOKEN"');
  if (route.returnTypes?.includes("text/event-stream") === true) lines.push("-N");
  if (route.returnTypes?.includes("*/*") === true) lines.push("-o picture.png");
  if (route.body !== undefined) {
    lines.push('-H "Content-Type: application/json"', `-d '${BODIES[route.id] ?? "{}"}'`);
  } else if (route.bodyTypes !== undefined) {
    lines.push("-F file=@picture.png");
  }
  return lines.join(" \\\n  ");
}
