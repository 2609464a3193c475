/** Writing MP4: one track of H.264, perhaps one of FLAC, and the tags in which ComfyUI keeps the workflow. */

import { FLAC_BLOCK_SAMPLES, flacFrames, type Sound, streamInfo } from "./flac.ts";
import type { H264Video } from "./h264.ts";

/** Units of time per frame; the rate is in thousandths of frames per second, as ComfyUI rounds it. */
const FRAME_UNITS = 1000;
/** Units of time per second in the movie's own headers. */
const MOVIE_SCALE = 1000;

interface Track {
  readonly kind: "vide" | "soun";
  readonly scale: number;
  /** Runs of samples that last equally long. */
  readonly times: readonly { readonly count: number; readonly duration: number }[];
  readonly samples: readonly Buffer[];
  readonly keys?: readonly number[];
  readonly description: Buffer;
  readonly size: { readonly width: number; readonly height: number };
}

/** @returns the file, its index before its data so that players can start early */
export function encodeMp4(
  video: H264Video,
  size: { readonly width: number; readonly height: number },
  framesPerSecond: number,
  sound: Sound | undefined,
  tags: Readonly<Record<string, string>>,
): Buffer {
  const tracks: Track[] = [
    {
      kind: "vide",
      scale: Math.max(1, Math.round(framesPerSecond * FRAME_UNITS)),
      times: [{ count: video.frames.length, duration: FRAME_UNITS }],
      samples: video.frames.map((frame) => frame.data),
      keys: video.frames.flatMap((frame, index) => (frame.isKey ? [index + 1] : [])),
      description: h264Description(video, size),
      size,
    },
    ...(sound === undefined ? [] : [soundTrack(sound)]),
  ];
  const start = box("ftyp", Buffer.from("isom\0\0\u0002\0isomiso2avc1mp41", "latin1"));
  const lengths = tracks.map((track) => track.samples.reduce((sum, sample) => sum + sample.length, 0));
  // The index holds where the data lies, and the data lies behind the index: its length is known from a first try.
  const indexLength = movie(tracks, [0, 0], tags).length;
  const dataAt = start.length + indexLength + 8;
  const index = movie(tracks, [dataAt, dataAt + (lengths[0] ?? 0)], tags);
  return Buffer.concat([start, index, box("mdat", ...tracks.flatMap((track) => track.samples))]);
}

function soundTrack(sound: Sound): Track {
  const samples = flacFrames(sound);
  const length = sound.samples[0]?.length ?? 0;
  const last = length - (samples.length - 1) * FLAC_BLOCK_SAMPLES;
  const times = [
    { count: samples.length - 1, duration: FLAC_BLOCK_SAMPLES },
    { count: 1, duration: last },
  ].filter((run) => run.count > 0 && run.duration > 0);
  return {
    kind: "soun",
    scale: sound.sampleRate,
    times,
    samples,
    description: flacDescription(sound),
    size: { width: 0, height: 0 },
  };
}

function box(type: string, ...parts: readonly Buffer[]): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(8 + parts.reduce((sum, part) => sum + part.length, 0));
  head.write(type, 4, "latin1");
  return Buffer.concat([head, ...parts]);
}

/** A box that starts with a version of 0 and flags. */
function fullBox(type: string, flags: number, ...parts: readonly Buffer[]): Buffer {
  return box(type, words(flags), ...parts);
}

function words(...values: readonly number[]): Buffer {
  const out = Buffer.alloc(values.length * 4);
  for (const [i, value] of values.entries()) out.writeUInt32BE(value >>> 0, i * 4);
  return out;
}

function halves(...values: readonly number[]): Buffer {
  const out = Buffer.alloc(values.length * 2);
  for (const [i, value] of values.entries()) out.writeUInt16BE(value & 0xffff, i * 2);
  return out;
}

const zeros = (count: number): Buffer => Buffer.alloc(count);
const MATRIX = words(0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000);

function seconds(track: Track): number {
  return track.times.reduce((sum, run) => sum + run.count * run.duration, 0) / track.scale;
}

function movie(tracks: readonly Track[], dataAt: readonly number[], tags: Readonly<Record<string, string>>): Buffer {
  const duration = Math.round(Math.max(...tracks.map(seconds)) * MOVIE_SCALE);
  const header = fullBox(
    "mvhd",
    0,
    words(0, 0, MOVIE_SCALE, duration, 0x10000),
    halves(0x100),
    zeros(10),
    MATRIX,
    zeros(24),
    words(tracks.length + 1),
  );
  const boxes = tracks.map((track, i) => trackBox(track, i + 1, dataAt[i] ?? 0));
  return box("moov", header, ...boxes, ...(Object.keys(tags).length === 0 ? [] : [userData(tags)]));
}

function trackBox(track: Track, id: number, dataAt: number): Buffer {
  const length = Math.round(seconds(track) * MOVIE_SCALE);
  const isVideo = track.kind === "vide";
  const header = fullBox(
    "tkhd",
    3,
    words(0, 0, id, 0, length),
    zeros(8),
    halves(0, isVideo ? 0 : 1, isVideo ? 0 : 0x100, 0),
    MATRIX,
    words(track.size.width * 0x10000, track.size.height * 0x10000),
  );
  const units = track.times.reduce((sum, run) => sum + run.count * run.duration, 0);
  const media = box(
    "mdia",
    fullBox("mdhd", 0, words(0, 0, track.scale, units), halves(0x55c4, 0)),
    handler(track.kind, isVideo ? "VideoHandler" : "SoundHandler"),
    box(
      "minf",
      isVideo ? fullBox("vmhd", 1, zeros(8)) : fullBox("smhd", 0, zeros(4)),
      box("dinf", fullBox("dref", 0, words(1), fullBox("url ", 1))),
      sampleTable(track, dataAt),
    ),
  );
  return box("trak", header, media);
}

function handler(kind: string, name: string): Buffer {
  return fullBox("hdlr", 0, words(0), Buffer.from(kind, "latin1"), zeros(12), Buffer.from(`${name}\0`, "latin1"));
}

function sampleTable(track: Track, dataAt: number): Buffer {
  const { samples, times, keys } = track;
  return box(
    "stbl",
    fullBox("stsd", 0, words(1), track.description),
    fullBox("stts", 0, words(times.length, ...times.flatMap((run) => [run.count, run.duration]))),
    ...(keys === undefined ? [] : [fullBox("stss", 0, words(keys.length, ...keys))]),
    fullBox("stsc", 0, words(1, 1, Math.max(1, samples.length), 1)),
    fullBox("stsz", 0, words(0, samples.length, ...samples.map((sample) => sample.length))),
    fullBox("stco", 0, words(1, dataAt)),
  );
}

function h264Description(video: H264Video, { width, height }: { width: number; height: number }): Buffer {
  const { sequence, picture } = video;
  const parameters = Buffer.concat([
    Buffer.from([1, sequence[1] ?? 66, sequence[2] ?? 0, sequence[3] ?? 0, 0xff, 0xe1]),
    halves(sequence.length),
    sequence,
    Buffer.from([1]),
    halves(picture.length),
    picture,
  ]);
  return box(
    "avc1",
    zeros(6),
    halves(1),
    zeros(16),
    halves(width, height),
    words(0x480000, 0x480000, 0),
    halves(1),
    zeros(32),
    halves(24, 0xffff),
    box("avcC", parameters),
  );
}

function flacDescription(sound: Sound): Buffer {
  const info = streamInfo(sound, 0, 0);
  const last = Buffer.alloc(4);
  last.writeUInt32BE(0x80000000 + info.length);
  return box(
    "fLaC",
    zeros(6),
    halves(1),
    zeros(8),
    halves(sound.channels, 16, 0, 0),
    words(Math.min(sound.sampleRate, 0xffff) * 0x10000),
    fullBox("dfLa", 0, last, info),
  );
}

/** Tags by name, as FFmpeg writes them when it keeps names that the format does not know. */
function userData(tags: Readonly<Record<string, string>>): Buffer {
  const entries = Object.entries(tags);
  const keys = entries.map(([name]) => {
    const text = Buffer.from(name, "utf8");
    return Buffer.concat([words(8 + text.length), Buffer.from("mdta", "latin1"), text]);
  });
  const values = entries.map(([, value], i) => {
    const item = box("data", words(1, 0), Buffer.from(value, "utf8"));
    return Buffer.concat([words(8 + item.length, i + 1), item]);
  });
  const meta = fullBox(
    "meta",
    0,
    fullBox("hdlr", 0, words(0), Buffer.from("mdta", "latin1"), zeros(13)),
    fullBox("keys", 0, words(entries.length), ...keys),
    box("ilst", ...values),
  );
  return box("udta", meta);
}

/** The size of the first picture track of an MP4 file; undefined when there is none. */
export function mp4Size(file: Buffer): { readonly width: number; readonly height: number } | undefined {
  const find = (bytes: Buffer, type: string): Buffer[] => {
    const found: Buffer[] = [];
    for (let at = 0; at + 8 <= bytes.length; ) {
      const length = bytes.readUInt32BE(at);
      const isWide = length === 1 && at + 16 <= bytes.length;
      const size = isWide ? Number(bytes.readBigUInt64BE(at + 8)) : length === 0 ? bytes.length - at : length;
      if (size < 8) break;
      if (bytes.toString("latin1", at + 4, at + 8) === type)
        found.push(bytes.subarray(at + (isWide ? 16 : 8), at + size));
      at += size;
    }
    return found;
  };
  for (const track of find(file, "moov").flatMap((movieBox) => find(movieBox, "trak"))) {
    const [header] = find(track, "tkhd");
    if (header === undefined || header.length < 84) continue;
    const width = header.readUInt32BE(header.length - 8) >>> 16;
    const height = header.readUInt32BE(header.length - 4) >>> 16;
    if (width > 0 && height > 0) return { width, height };
  }
  return undefined;
}
