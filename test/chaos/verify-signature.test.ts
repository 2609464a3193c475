import { generateKeyPairSync, sign } from "node:crypto";
import { describe, expect, it } from "vitest";
import { signatureFault } from "./verify-signature.ts";

const { publicKey, privateKey } = generateKeyPairSync("ed25519");
const PUBLISHED = publicKey.export({ format: "der", type: "spki" }).subarray(-32).toString("base64");

/** The example of the Standard Webhooks specification. */
const MESSAGE = {
  path: "/",
  id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
  timestamp: "1614265330",
  body: '{"test": 2432232314}',
  status: 204,
};
const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const V1 = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
const content = Buffer.from(`${MESSAGE.id}.${MESSAGE.timestamp}.${MESSAGE.body}`);
const V1A = `v1a,${sign(null, content, privateKey).toString("base64")}`;

describe("a signature", () => {
  it("of the specification's own example is right", () => {
    expect(signatureFault({ ...MESSAGE, signature: `${V1} ${V1A}` }, SECRET, PUBLISHED)).toBeNull();
  });

  it("may stand among others, of an older secret and of unknown versions", () => {
    const signature = `v1,AAAA ${V1} v9,AAAA ${V1A}`;
    expect(signatureFault({ ...MESSAGE, signature }, SECRET, `whpk_${PUBLISHED}`)).toBeNull();
  });

  it.each([
    ["a time that was changed", { timestamp: "1614265331" }],
    ["an id with a full stop, which another message could share", { id: "msg_x.1" }],
    ["no signature at all", { signature: "" }],
  ])("is refused for %s", (_, change) => {
    expect(signatureFault({ ...MESSAGE, signature: `${V1} ${V1A}`, ...change }, SECRET, PUBLISHED)).not.toBeNull();
  });
});
