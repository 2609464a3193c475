import { describe, expect, it } from "vitest";
import { readFrame } from "#gpu-agent/comfy/frames";

function binary(event: number, ...parts: (number | Buffer)[]): ArrayBuffer {
  const bytes = Buffer.concat(
    [event, ...parts].map((part) => {
      if (typeof part !== "number") return part;
      const word = Buffer.alloc(4);
      word.writeUInt32BE(part);
      return word;
    }),
  );
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
}

describe("a frame of ComfyUI's socket", () => {
  it("is an event with its prompt, or without", () => {
    expect(readFrame('{"type":"executing","data":{"node":"5","prompt_id":"a"}}')).toMatchObject({
      kind: "event",
      type: "executing",
      promptId: "a",
    });
    expect(readFrame('{"type":"executing","data":{"node":"5"}}')).toMatchObject({ promptId: null });
    expect(readFrame('{"type":"status"}')).toMatchObject({ type: "status", promptId: null });
  });

  it("may hold NaN and numbers beyond 2^53", () => {
    const frame = readFrame('{"type":"executed","data":{"output":{"x":[NaN, 18446744073709551615]}}}');
    expect(frame).toMatchObject({ data: { output: { x: [Number.NaN, 18446744073709551615n] } } });
  });

  it("is a picture, as older servers send it", () => {
    const image = Buffer.from([1, 2, 3]);
    expect(readFrame(binary(1, 1, image))).toEqual({
      kind: "preview",
      promptId: null,
      contentType: "image/jpeg",
      bytes: new Uint8Array(image),
    });
    expect(readFrame(binary(1, 2, image))).toMatchObject({ contentType: "image/png" });
  });

  it("is a picture with its prompt, as newer ones do", () => {
    const metadata = Buffer.from(JSON.stringify({ prompt_id: "a", node_id: "3", image_type: "image/png" }));
    const frame = readFrame(binary(4, metadata.length, metadata, Buffer.from([9])));
    expect(frame).toEqual({ kind: "preview", promptId: "a", contentType: "image/png", bytes: new Uint8Array([9]) });
  });

  it.each([
    ["no JSON", "hello"],
    ["no object", "[1]"],
    ["text of a node", binary(3, 1, Buffer.from("5hello"))],
    ["an event nobody knows", binary(99, 0)],
    ["a picture cut off", binary(4, 1_000, Buffer.from("{}"))],
    ["nothing", new ArrayBuffer(0)],
  ])("that is %s is passed over", (_, data) => {
    expect(readFrame(data)).toBeNull();
  });
});
