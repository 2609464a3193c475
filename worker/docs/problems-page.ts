import { problems } from "#contract/problems";
import { type Html, html, page } from "#worker/docs/html";

/** The table that `type` of every problem points into. */
export function problemsPage(): Html {
  const rows = Object.entries(problems).map(
    ([code, { status, title, retryable }]) =>
      html`<tr id="${code}"><td><a href="#${code}"><code>${code}</code></a></td><td>${status}</td><td>${title}</td><td>${retryable ? "yes" : "no"}</td></tr>
`,
  );
  return page(
    "Pilotlight: problems",
    html`<p><a href="/docs">API reference</a></p>
<h1>Problems</h1>
<p>Errors are sent as <code>application/problem+json</code> (RFC 9457): <code>type</code>, <code>title</code>, <code>status</code>, <code>code</code>,
<code>detail</code>, <code>request_id</code>, <code>retryable</code>, and <code>errors</code> where fields are wrong. Codes are stable.</p>
<div class="scroll"><table><thead><tr><th>code</th><th>status</th><th>meaning</th><th>may succeed later unchanged</th></tr></thead><tbody>
${rows}</tbody></table></div>`,
  );
}
