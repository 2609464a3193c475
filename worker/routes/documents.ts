/** Pages and documents that need no key. */
import { openApiDocument } from "#contract/openapi";
import { htmlAnswer } from "#worker/docs/html";
import { landingPage } from "#worker/docs/landing-page";
import { problemsPage } from "#worker/docs/problems-page";
import { referencePage } from "#worker/docs/reference-page";
import type { Arrival } from "#worker/http/call";
import type { Mounted } from "#worker/http/router";
import packageJson from "../../package.json" with { type: "json" };

const document = (path: string, answer: (arrival: Arrival) => Promise<Response>): Mounted => ({
  method: "get",
  path,
  answer,
});

export const documentRoutes: Mounted[] = [
  document("/", (arrival) => htmlAnswer(landingPage(arrival.url.origin))),
  document("/docs", (arrival) => htmlAnswer(referencePage(arrival.url.origin))),
  document("/docs/problems", () => htmlAnswer(problemsPage())),
  document(
    "/openapi.json",
    async (arrival) =>
      new Response(JSON.stringify(openApiDocument(packageJson.version, arrival.url.origin)), {
        headers: { "content-type": "application/json", "cache-control": "public, max-age=300" },
      }),
  ),
];
