import { describe, expect, it } from "vitest";
import { guardUrl } from "#contract/public-url";
import { HONEST_URLS, HOSTILE_URLS, OWN_HOST } from "#test/contract/url-table";

const outside = { allowLoopback: false, ownHosts: [OWN_HOST, "other.example.com:443"] };
const developer = { allowLoopback: true, ownHosts: ["127.0.0.1:8787"] };

describe("URLs that callers give", () => {
  it.each(HONEST_URLS)("%s is taken", (text) => {
    expect(guardUrl(text, outside)).toMatchObject({ ok: true, url: new URL(text) });
  });

  describe.each(HOSTILE_URLS)("with $what", ({ urls, says }) => {
    it.each(urls)("%j is refused", (text) => {
      expect(guardUrl(text, outside)).toEqual({ ok: false, reason: expect.stringMatching(says) });
    });
  });

  it("are at least 63 hostile and 15 honest ones", () => {
    expect(HOSTILE_URLS.flatMap(({ urls }) => urls).length).toBeGreaterThanOrEqual(63);
    expect(HONEST_URLS.length).toBeGreaterThanOrEqual(15);
  });

  it("never point at any of this service's names", () => {
    expect(guardUrl("https://other.example.com/", outside).ok).toBe(false);
    expect(guardUrl("https://another.example.com/", outside).ok).toBe(true);
  });
});

describe("a developer's machine", () => {
  it.each(HOSTILE_URLS.flatMap(({ urls }) => urls))("opens loopback and nothing else: %j", (text) => {
    const verdict = guardUrl(text, { ...outside, allowLoopback: true });
    if (verdict.ok) expect(verdict.url.hostname).toMatch(/^(?:localhost|127\.[0-9.]+|\[::1\])$/);
    else expect(verdict.reason).not.toBe("");
  });

  it.each([
    "http://127.0.0.1:9000/a.png",
    "https://127.0.0.1/",
    "http://127.8.9.10:9000/",
    "http://localhost/a.png",
    "http://LOCALHOST:3000/",
    "http://[::1]:8080/a.png",
    "https://images.example.com/a.png",
  ])("takes %s", (text) => {
    expect(guardUrl(text, developer).ok).toBe(true);
  });

  it.each([
    "http://128.0.0.1/",
    "http://0.0.0.0/",
    "http://192.168.1.1/",
    "http://[::ffff:127.0.0.1]/",
    "http://images.example.com/",
    "https://10.0.0.1/",
    "http://user@127.0.0.1/",
    "http://127.0.0.1\\@10.0.0.1/",
    "ftp://127.0.0.1/",
    "http://localhost.example.com/",
  ])("refuses %s", (text) => {
    expect(guardUrl(text, developer).ok).toBe(false);
  });

  it.each(["http://127.0.0.1:8787/v1/me", "http://localhost:8787/", "http://[::1]:8787/", "http://127.9.9.9:8787/"])(
    "never calls the server itself by %s",
    (text) => {
      expect(guardUrl(text, developer)).toMatchObject({ ok: false, reason: expect.stringContaining("this service") });
    },
  );
});
