import { describe, expect, it } from "vitest";
import { guardUrl } from "#worker/inputs/url-guard";

const outside = { allowLoopback: false, ownHost: "pilotlight.example.com" };
const developer = { allowLoopback: true, ownHost: "127.0.0.1:8787" };

describe("addresses of inputs", () => {
  it.each([
    "https://images.example.com/a.png",
    "https://images.example.com:443/a.png?x=1#y",
    "https://IMAGES.EXAMPLE.COM./a.png",
    "https://xn--bcher-kva.ch/a.png",
    "https://sub.localhost.example.com/a.png",
    "https://1.2.3.4.example.com/a.png",
  ])("%s is taken", (text) => {
    expect(guardUrl(text, outside)).toMatchObject({ ok: true });
  });

  it.each([
    // loopback, in every spelling a parser takes
    "https://127.0.0.1/",
    "https://127.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0177.0.0.1/",
    "https://017700000001/",
    "https://127.0.0.1./",
    "https://[::1]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[2001:0:7f00:1::]/",
    "https://[::]/",
    "https://0.0.0.0/",
    "https://0/",
    "https://①②⑦.0.0.1/",
    "https://127。0。0。1/",
    // private, shared, reserved, metadata
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://192.168.1.1/",
    "https://100.64.0.1/",
    "https://198.18.0.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://[fd00:ec2::254]/",
    "https://[fe80::1]/",
    "https://[fc00::1]/",
    "https://[ff02::1]/",
    "https://224.0.0.1/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    "https://8.8.8.8/",
    "https://metadata.google.internal/",
    "https://metadata/",
    // names
    "https://localhost/",
    "https://LOCALHOST/",
    "https://localhost./",
    "https://a.localhost/",
    "https://printer.local/",
    "https://db.internal/",
    "https://router.lan/",
    "https://nas.home.arpa/",
    "https://intranet/",
    "https://1.0.0.127.in-addr.arpa/",
    "https://a..example.com/",
    "https://example.com../",
    // tricks
    "https://user@images.example.com/",
    "https://user:pass@images.example.com/",
    "https://@images.example.com/",
    "https://images.example.com@127.0.0.1/",
    "https://127.0.0.1#@images.example.com/",
    "https://images.example.com\\@127.0.0.1/",
    "https://images.example.com\t/",
    "https://images.exa\nmple.com/",
    " https://images.example.com/",
    "https://images.example.com/\u0000",
    "https:/images.example.com/",
    "https:images.example.com",
    "https:///images.example.com/",
    "https://",
    // ports, schemes, ourselves
    "https://images.example.com:8443/",
    "https://images.example.com:22/",
    "http://images.example.com/",
    "ftp://images.example.com/",
    "file:///etc/passwd",
    "gopher://images.example.com/",
    "javascript:alert(1)",
    "blob:https://images.example.com/1",
    "https://pilotlight.example.com/v1/me",
    "https://pilotlight.example.com./v1/me",
    `https://images.example.com/${"a".repeat(5_000)}`,
  ])("%j is refused", (text) => {
    expect(guardUrl(text, outside)).toMatchObject({ ok: false });
  });

  it("let a developer's machine reach itself, and no further", () => {
    for (const text of ["http://127.0.0.1:9000/a.png", "http://localhost/a.png", "http://[::1]:8080/a.png"]) {
      expect(guardUrl(text, developer)).toMatchObject({ ok: true });
    }
    for (const text of [
      "http://127.0.0.2/",
      "http://192.168.1.1/",
      "http://images.example.com/",
      "https://10.0.0.1/",
      "http://user@127.0.0.1/",
    ]) {
      expect(guardUrl(text, developer)).toMatchObject({ ok: false });
    }
  });
});
