import { homedir } from "node:os";
import { expect, it } from "vitest";
import { redact } from "#gpu-agent/redact";

it.each([
  ["a join token", "with plj_0123456789abcdef", "with [redacted]"],
  ["a model hub's token", "token hf_abcdefghijklmnop", "token [redacted]"],
  ["an authorization header", "Authorization: Bearer abc.def", "[redacted]"],
  ["a named secret", 'HF_TOKEN="abcdef" next', "HF_TOKEN"],
  ["credentials in an address", "https://me:pw@example.com/x", "https://[redacted]@example.com/x"],
  ["a query", "GET https://example.com/m?sig=abc&x=1 failed", "https://example.com/m?[redacted] failed"],
  ["a home folder", `${homedir()}/models/a`, "~/models/a"],
])("takes out %s", (_, text, shown) => {
  const result = redact(text);
  expect(result).toContain(shown);
  expect(result).not.toMatch(/abc|pw@|0123456789/);
});

it("names folders by what they are, inner ones first", () => {
  const folders = { "/srv/agent": "<agent>", "/srv/agent/slots/0/output": "<output>" };
  expect(redact("/srv/agent/slots/0/output/a.png and /srv/agent/x", folders)).toBe("<output>/a.png and <agent>/x");
});

it("leaves other text alone", () => {
  const text = "RuntimeError: mat1 and mat2 shapes cannot be multiplied (77x2048 and 768x320)";
  expect(redact(text)).toBe(text);
});
