import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect, it } from "vitest";

const LINES = 60;

/** Vitest itself would wait without end for such a line to be told: the run stands where `disableConsoleIntercept` is off. */
it("objects that still write lines when a file's last test is over do not keep the run from ending", async () => {
  const object = env.ENDPOINTS.getByName("one that writes late");
  const begun = await runInDurableObject(object, () => {
    for (let line = 0; line < LINES; line += 1) setTimeout(() => console.log(`a late line of the test: ${line}`), line);
    return LINES;
  });
  expect(begun).toBe(LINES);
});
