import { type Html, html, page } from "#worker/docs/html";

/** What this server is, for whoever opens its address in a browser. */
export function landingPage(origin: string): Html {
  return page(
    "Pilotlight",
    html`<h1>Pilotlight</h1>
<p>ComfyUI workflows as typed HTTPS endpoints, on your own Cloudflare account and your own GPUs.</p>
<p>This address serves the API. It needs a key: <code>Authorization: Bearer pl_…</code></p>
<ul>
<li><a href="/docs">API reference</a></li>
<li><a href="/docs/problems">Problems</a>: what each error code means</li>
<li><a href="/openapi.json">OpenAPI document</a></li>
<li><a href="/v1/health">Health</a></li>
</ul>
<h2>First call</h2>
<pre><code>curl -s ${origin}/v1/endpoints/<em>endpoint</em>/jobs \\
  -H "Authorization: Bearer $PILOTLIGHT_TOKEN" -H "Content-Type: application/json" -H "Prefer: wait=60" \\
  -d '{"inputs": {"prompt": "a fox in the snow"}}'</code></pre>`,
  );
}
