import { createHmac, createPublicKey, verify } from "node:crypto";
import { describe, expect, it } from "vitest";
import type { DeliveryId, JobId, WebhookId } from "#contract/ids";
import { MessageId } from "#contract/webhook";
import {
  disabledMessageId,
  eventMessageId,
  progressMessageId,
  testMessageId,
} from "#durable-objects/outbox/message-id";
import {
  publicKeyText,
  secretBytes,
  secretHint,
  secretText,
  signedContent,
} from "#durable-objects/outbox/signed-content";
import { deploymentKey, keyFromSeed, keyId, signedHeaders } from "#durable-objects/webhooks/signer";

const A = "whsec_BUJJBolOUXAJh6VMG827MCMrI1pO+eSS";
const B = "whsec_uDIS9/MjbfmM/uTSjFHYc7m2AGYRbgCwJ3mOKkhahaI=";
const T = 1_767_225_600;
const ID = "msg_01JGFJJZ0000000000000000";
const BODY =
  '{"type":"job.succeeded","timestamp":"2026-01-01T00:00:00.000Z","data":{"id":"job_01JGFJJZ00ABCDEFGHJKMNPQRS","status":"succeeded"}}';
/** The private key of RFC 8032, section 7.1, TEST 1. */
const SEED = Buffer.from("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", "hex");
const PUBLIC = Buffer.from("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "hex");

const signaturesOf = async (secrets: readonly string[], id: string, timestampS: number, body: string) => {
  const headers = await signedHeaders({ id, timestampS, body }, secrets.map(secretBytes), await keyFromSeed(SEED));
  expect(headers["webhook-id"]).toBe(id);
  expect(headers["webhook-timestamp"]).toBe(String(timestampS));
  return (headers["webhook-signature"] ?? "").split(" ");
};

describe("a signature", () => {
  it.each([
    [
      "the public vector of Standard Webhooks",
      "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
      "msg_p5jXN8AQM9LWM0D4loKWxJek",
      1_614_265_330,
      '{"test": 2432232314}',
      "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ],
    ["a secret of 24 bytes", A, `${ID}A1`, T, BODY, "v1,yrpq/0eqocvVmpBC+mlI5yN6dOgWMLfZjxU1HjEeL2g="],
    ["a secret of 32 bytes", B, `${ID}A1`, T, BODY, "v1,shWfATVwPfRG42kMR/FI6OViya+j425aUD5/qO8dCuo="],
    ["a later try", A, `${ID}A1`, T + 305, BODY, "v1,1moFFNKoukos/1BQl5F+1vToLjP937Hl9K6mOiSOiUU="],
    [
      "any script",
      A,
      `${ID}A2`,
      T,
      '{"type":"job.failed","data":{"error":"naïve café — 猫🐈"}}',
      "v1,mqVkALRot2uGG44TJ25gRNnt4XNX8jrRvE0XsMN+etU=",
    ],
    [
      "spaces and a line feed as they are",
      A,
      `${ID}A3`,
      T,
      '{ "type" : "job.succeeded" }\n',
      "v1,3+zIEmpUCF1LY+VjMYVOUi26oUS6brzUbgE21xPzsWI=",
    ],
    ["an empty body", A, `${ID}A4`, T, "", "v1,Et6GSuAYLoyBeOsZ8+bTCbwcsjW7OfF8qA6VebTXCuw="],
    ["an empty object", A, `${ID}A5`, T, "{}", "v1,pDbpMIKp/QMbbezhrmroJv/I5sUWlSX2qvP7bZuFYG8="],
    ["full stops in the body", A, `${ID}A6`, T, '{"v":"1.2.3.4"}', "v1,EytdQTtumHXLjjgWTM9P5SYL5NgiQveKiCKW0L7Mbws="],
  ])("of %s is the published one, and node:crypto's", async (_name, secret, id, timestampS, body, expected) => {
    const [v1] = await signaturesOf([secret], id, timestampS, body);
    expect(v1).toBe(expected);
    const key = Buffer.from(secret.slice(6), "base64");
    expect(v1).toBe(`v1,${createHmac("sha256", key).update(`${id}.${timestampS}.${body}`).digest("base64")}`);
  });

  it("of two secrets while one takes the other's place: the new one's first", async () => {
    const [first, second] = await signaturesOf([B, A], `${ID}B1`, T, BODY);
    expect([first, second]).toEqual([
      "v1,rBKQTobcu3p/Np+NB7u0JarR5OokYoJIqvDD9aSfC9s=",
      "v1,vcO8bYn8dQz+U+Simw8Tukgs0Vg5u1wshByw403KyOo=",
    ]);
  });

  it("of the deployment's key is Ed25519's, the same each time", async () => {
    const v1a = (await signaturesOf([], `${ID}C1`, T, BODY)).at(-1) ?? "";
    expect(v1a).toBe("v1a,ROsQtu3/HsgVfWMoZsIm32sYPdjpElPBsSxUdVWL4ngjcJdvMrFa8mHcCQsQ8WTBwlrG6lgMyVwi7kuORPftBA==");
    const spki = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), PUBLIC]);
    const key = createPublicKey({ key: spki, format: "der", type: "spki" });
    expect(verify(null, Buffer.from(`${ID}C1.${T}.${BODY}`), key, Buffer.from(v1a.slice(4), "base64"))).toBe(true);
    expect(verify(null, Buffer.from(`${ID}C1.${T}.${BODY} `), key, Buffer.from(v1a.slice(4), "base64"))).toBe(false);
  });

  it.each(["msg_x.1", "msg x", "", "msg_é"])("is refused to the id %j, which would move the borders", (id) => {
    expect(() => signedContent(id, T, "{}")).toThrow(RangeError);
  });

  it("has a timestamp of whole seconds", () => {
    expect(() => signedContent("msg_x", T + 0.5, "{}")).toThrow(RangeError);
  });
});

describe("the deployment's key", () => {
  const secret = "a secret of the test run, 32 bytes or more";

  it("is the one of its seed", async () => {
    expect(Buffer.from((await keyFromSeed(SEED)).publicKey).equals(PUBLIC)).toBe(true);
    expect(publicKeyText(PUBLIC)).toBe("whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
  });

  it("follows from the deployment's secret alone", async () => {
    const [one, again, other] = await Promise.all([
      deploymentKey(secret),
      deploymentKey(secret),
      deploymentKey(`${secret}!`),
    ]);
    expect(one.publicKey).toEqual(again.publicKey);
    expect(one.publicKey).not.toEqual(other.publicKey);
    await expect(deploymentKey("short")).rejects.toThrow("32 characters");
  });

  it("is named by the thumbprint of RFC 8037, appendix A.3", async () => {
    expect(await keyId(PUBLIC)).toBe("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
  });
});

describe("a secret", () => {
  it("is whsec_ and 24 to 64 bytes in base64", () => {
    for (const length of [24, 32, 64]) {
      const bytes = new Uint8Array(length).fill(7);
      expect(secretBytes(secretText(bytes))).toEqual(bytes);
    }
    for (const text of ["whsec_", `whsec_${"A".repeat(28)}`, `whsec_${"A".repeat(88)}`, "AAAA", "whsec_*"]) {
      expect(() => secretBytes(text), text).toThrow(RangeError);
    }
    expect(secretHint(A)).toBe("whsec_…+eSS");
  });
});

describe("a message's id", () => {
  const chars = "0dpx4n3m8k7q2wz6tgr1vyc5ha";
  it("is a function of its event, and never holds a full stop", () => {
    const jobId = `job_${chars}` as JobId;
    const ids = [
      eventMessageId(jobId, 1),
      eventMessageId(jobId, 12),
      progressMessageId(jobId, 1),
      progressMessageId(jobId, 1_767_225_600_000),
      testMessageId(`dlv_${chars}` as DeliveryId),
      disabledMessageId(`wh_${chars}` as WebhookId, 1_767_225_600_000),
    ];
    expect(new Set(ids).size).toBe(ids.length);
    for (const id of ids) expect(MessageId.safeParse(id).success, id).toBe(true);
    expect(ids[0]).toBe(`msg_${chars}_1`);
  });
});
