import fc from "fast-check";
import { expect, it } from "vitest";
import { packOutput, SOCKET_OUTPUT_BYTES_MAX, type SocketOutput, unpackOutput } from "#contract/agent-socket";
import { LeaseId } from "#contract/ids";

const output: SocketOutput = {
  lease: LeaseId.parse("lse_0dpx4n3m8k7q2wz6tgr1vyc5ha-1"),
  token: `1.${"a".repeat(24)}`,
  index: 3,
  sha256: "0".repeat(64),
  content_type: "image/png",
};

it("an output comes out of its message as it went in, whatever its bytes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.string({ maxLength: 200, unit: "binary" }), (bytes, type) => {
      const packed = packOutput({ ...output, content_type: type }, bytes);
      expect(unpackOutput(packed)).toEqual({ output: { ...output, content_type: type }, bytes });
    }),
  );
});

it("other bytes are no output", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => void expect(unpackOutput(bytes)).toBeNull()));
  const packed = packOutput(output, new Uint8Array(SOCKET_OUTPUT_BYTES_MAX));
  expect(unpackOutput(packed)?.bytes.byteLength).toBe(SOCKET_OUTPUT_BYTES_MAX);
  expect(unpackOutput(packOutput(output, new Uint8Array(SOCKET_OUTPUT_BYTES_MAX + 1)))).toBeNull();
  expect(unpackOutput(packed.subarray(0, 50))).toBeNull();
  expect(unpackOutput(packOutput({ ...output, index: -1 }, new Uint8Array(1)))).toBeNull();
});
