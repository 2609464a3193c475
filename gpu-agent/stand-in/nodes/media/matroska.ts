/** Writing WebM: one track of VP8 key frames, and tags. */

const MILLION = 1_000_000;
/** A cluster's frames are timed in 16 bits of milliseconds from its start. */
const CLUSTER_MS_MAX = 30_000;

/**
 * @param frames VP8 key frames, all of one size
 * @param tags such as the workflow the video was made with
 */
export function encodeWebm(
  frames: readonly Buffer[],
  size: { readonly width: number; readonly height: number },
  framesPerSecond: number,
  tags: Readonly<Record<string, string>>,
): Buffer {
  const timeOf = (frame: number): number => Math.round((frame * 1000) / framesPerSecond);
  const header = element(
    0x1a45dfa3,
    number(0x4286, 1),
    number(0x42f7, 1),
    number(0x42f2, 4),
    number(0x42f3, 8),
    text(0x4282, "webm"),
    number(0x4287, 2),
    number(0x4285, 2),
  );
  const info = element(
    0x1549a966,
    number(0x2ad7b1, MILLION),
    float(0x4489, (frames.length * 1000) / framesPerSecond),
    text(0x4d80, "Pilotlight stand-in"),
    text(0x5741, "Pilotlight stand-in"),
  );
  const track = element(
    0xae,
    number(0xd7, 1),
    number(0x73c5, 1),
    number(0x9c, 0),
    text(0x86, "V_VP8"),
    number(0x83, 1),
    number(0x23e383, Math.round((1000 * MILLION) / framesPerSecond)),
    element(0xe0, number(0xb0, size.width), number(0xba, size.height)),
  );
  const segment = element(0x18538067, info, element(0x1654ae6b, track), tagsElement(tags), ...clusters(frames, timeOf));
  return Buffer.concat([header, segment]);
}

function clusters(frames: readonly Buffer[], timeOf: (frame: number) => number): Buffer[] {
  const out: Buffer[] = [];
  for (let first = 0; first < frames.length; ) {
    const start = timeOf(first);
    const blocks: Buffer[] = [];
    let frame = first;
    for (; frame < frames.length && timeOf(frame) - start < CLUSTER_MS_MAX; frame += 1) {
      const head = Buffer.from([0x81, 0, 0, 0x80]);
      head.writeInt16BE(timeOf(frame) - start, 1);
      blocks.push(element(0xa3, head, frames[frame] ?? Buffer.alloc(0)));
    }
    out.push(element(0x1f43b675, number(0xe7, start), ...blocks));
    // A frame longer than a whole cluster still needs one of its own.
    first = Math.max(frame, first + 1);
  }
  return out;
}

function tagsElement(tags: Readonly<Record<string, string>>): Buffer {
  const entries = Object.entries(tags);
  if (entries.length === 0) return Buffer.alloc(0);
  const simple = entries.map(([name, value]) => element(0x67c8, text(0x45a3, name.toUpperCase()), text(0x4487, value)));
  return element(0x1254c367, element(0x7373, element(0x63c0), ...simple));
}

function element(id: number, ...parts: readonly Buffer[]): Buffer {
  const idBytes: number[] = [];
  for (let rest = id; rest > 0; rest = Math.floor(rest / 256)) idBytes.unshift(rest & 0xff);
  const length = Buffer.alloc(8);
  length.writeBigUInt64BE(BigInt(parts.reduce((sum, part) => sum + part.length, 0)));
  length[0] = 0x01;
  return Buffer.concat([Buffer.from(idBytes), length, ...parts]);
}

function number(id: number, value: number): Buffer {
  const bytes = Buffer.alloc(6);
  bytes.writeUIntBE(value, 0, 6);
  return element(id, bytes);
}

function float(id: number, value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleBE(value);
  return element(id, bytes);
}

function text(id: number, value: string): Buffer {
  return element(id, Buffer.from(value, "utf8"));
}
