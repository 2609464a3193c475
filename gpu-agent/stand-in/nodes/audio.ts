/** Nodes that make, change, read and write sound. */
import { readFile } from "node:fs/promises";
import { type NodeContext, NodeError, type NodeImplementation } from "../node.ts";
import { roundHalfEven } from "../pixels/float-images.ts";
import { contentFingerprint, existingInputPath, fileMustExist } from "./input-files.ts";
import { numberOf, optionalText, textOf } from "./inputs.ts";
import { type Latent, toLatent } from "./latent-values.ts";
import { encodeFlac, type Sound } from "./media/flac.ts";
import { type DecodedSound, decodeFlac, isFlac } from "./media/flac-decoder.ts";
import { resampled } from "./media/resample-sound.ts";
import { decodeWav, isWav } from "./media/wav.ts";
import { planSave, type SavedFile, saveFile, tempSuffix } from "./saved-files.ts";
import { tuneFor } from "./tune.ts";

/** An AUDIO: a batch of sounds of one length. */
export interface Audio {
  readonly sampleRate: number;
  /** Batch entry, channel, sample. */
  readonly waveform: readonly (readonly Float32Array[])[];
}

/** @throws NodeError when the value is none */
export function toAudio(value: unknown): Audio {
  if (typeof value === "object" && value !== null && "waveform" in value) return value as Audio;
  throw new NodeError("TypeError", "'NoneType' object is not subscriptable");
}

const one = (audio: Audio) => ({ outputs: [audio] });

function changedSamples(audio: Audio, change: (samples: Float32Array) => Float32Array): Audio {
  return { ...audio, waveform: audio.waveform.map((channels) => channels.map(change)) };
}

/** Samples of one node's sound; beyond this the memory of the machine would decide. */
const SAMPLES_MAX = 200_000_000;

const emptyAudio: NodeImplementation = {
  run(inputs) {
    const sampleRate = numberOf(inputs, "sample_rate");
    const samples = roundHalfEven(numberOf(inputs, "duration") * sampleRate);
    if (samples < 0) throw new NodeError("RuntimeError", `Trying to create tensor with negative dimension ${samples}`);
    if (samples > SAMPLES_MAX) {
      throw new NodeError(
        "RuntimeError",
        `[enforce fail at alloc_cpu.cpp] data. DefaultCPUAllocator: can't allocate memory: you tried to allocate ${samples * 8} bytes.`,
      );
    }
    const channels = Array.from({ length: numberOf(inputs, "channels") }, () => new Float32Array(samples));
    return one({ sampleRate, waveform: [channels] });
  },
};

/** 16-bit samples as FFmpeg rounds them. */
export function asSound({ sampleRate, waveform }: Audio, entry = 0): Sound {
  const channels = (waveform[entry] ?? []).slice(0, 2);
  const samples = channels.map((values) =>
    Int16Array.from(values, (value) => Math.min(32767, Math.max(-32768, roundHalfEven(value * 32768)))),
  );
  return { channels: samples.length, sampleRate, samples };
}

async function saveSounds(audio: Audio, prefix: string, type: "output" | "temp", context: NodeContext) {
  const plan = await planSave(prefix, context.folders[type]);
  const saved: SavedFile[] = [];
  for (let entry = 0; entry < audio.waveform.length; entry += 1) {
    saved.push(await saveFile(plan, entry, "flac", type, encodeFlac(asSound(audio, entry), context.metadata)));
  }
  return { outputs: [], ui: { audio: saved } };
}

const saveAudio: NodeImplementation = {
  run: (inputs, context) =>
    saveSounds(toAudio(inputs.audio), optionalText(inputs, "filename_prefix") ?? "ComfyUI", "output", context),
};

const previewAudio: NodeImplementation = {
  run: (inputs, context) => saveSounds(toAudio(inputs.audio), `ComfyUI${tempSuffix(context.nodeId)}`, "temp", context),
};

/** MP3 and Opus need encoders of their own, which this server does not have; it says so instead of saving another format. */
function cannotEncode(format: string): NodeImplementation {
  return {
    run: () => {
      throw new NodeError(
        "av.error.EncoderNotFoundError",
        `The stand-in cannot encode ${format}; use Save Audio (FLAC).`,
      );
    },
  };
}

/** @throws NodeError av.error.InvalidDataError for anything but FLAC and WAV */
function decodeSound(file: Buffer, name: string): DecodedSound {
  try {
    if (isFlac(file)) return decodeFlac(file);
    if (isWav(file)) return decodeWav(file);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new NodeError(
      "av.error.InvalidDataError",
      `[Errno 1094995529] Invalid data found when processing input: '${name}' (${why})`,
    );
  }
  throw new NodeError(
    "av.error.InvalidDataError",
    `[Errno 1094995529] The stand-in reads WAV and FLAC only: '${name}'`,
  );
}

const loadAudio: NodeImplementation = {
  validate: fileMustExist("audio", "audio"),
  fingerprint: contentFingerprint("audio"),
  async run(inputs, { folders }) {
    const file = existingInputPath(textOf(inputs, "audio"), folders);
    const { sampleRate, samples } = decodeSound(await readFile(file), file);
    return one({ sampleRate, waveform: [samples] });
  },
};

const trimAudioDuration: NodeImplementation = {
  run(inputs) {
    const audio = toAudio(inputs.audio);
    const length = audio.waveform[0]?.[0]?.length ?? 0;
    const offset = roundHalfEven(numberOf(inputs, "start_index") * audio.sampleRate);
    const start = Math.max(0, Math.min(numberOf(inputs, "start_index") < 0 ? length + offset : offset, length - 1));
    const count = roundHalfEven(numberOf(inputs, "duration") * audio.sampleRate);
    const end = Math.max(0, Math.min(start + count, length));
    if (start >= end) {
      throw new NodeError(
        "ValueError",
        "AudioTrim: Start time must be less than end time and be within the audio length.",
      );
    }
    return one(changedSamples(audio, (samples) => samples.subarray(start, end)));
  },
};

const splitAudioChannels: NodeImplementation = {
  run(inputs) {
    const audio = toAudio(inputs.audio);
    if (audio.waveform[0]?.length !== 2) {
      throw new NodeError("ValueError", "AudioSplit: Input audio has only one channel.");
    }
    const only = (channel: number): Audio => ({
      ...audio,
      waveform: audio.waveform.map((channels) => channels.slice(channel, channel + 1)),
    });
    return { outputs: [only(0), only(1)] };
  },
};

/** The two at the higher of their rates. */
function atOneRate(first: Audio, second: Audio): readonly [Audio, Audio] {
  const rate = Math.max(first.sampleRate, second.sampleRate);
  const raised = (audio: Audio): Audio =>
    audio.sampleRate === rate
      ? audio
      : { ...changedSamples(audio, (samples) => resampled(samples, audio.sampleRate, rate)), sampleRate: rate };
  return [raised(first), raised(second)];
}

const audioConcat: NodeImplementation = {
  run(inputs) {
    const stereo = (audio: Audio): Audio => ({
      ...audio,
      waveform: audio.waveform.map((channels) => (channels.length === 1 ? [...channels, ...channels] : channels)),
    });
    const [first, second] = atOneRate(stereo(toAudio(inputs.audio1)), stereo(toAudio(inputs.audio2)));
    const [before, after] = textOf(inputs, "direction") === "after" ? [first, second] : [second, first];
    const waveform = before.waveform.map((channels, entry) =>
      channels.map((samples, channel) => {
        const next = after.waveform[entry]?.[channel] ?? new Float32Array(0);
        const both = new Float32Array(samples.length + next.length);
        both.set(samples);
        both.set(next, samples.length);
        return both;
      }),
    );
    return one({ sampleRate: first.sampleRate, waveform });
  },
};

const MERGES: Readonly<Record<string, (a: number, b: number) => number>> = {
  add: (a, b) => a + b,
  subtract: (a, b) => a - b,
  multiply: (a, b) => a * b,
  mean: (a, b) => (a + b) / 2,
};

const audioMerge: NodeImplementation = {
  run(inputs) {
    const [first, second] = atOneRate(toAudio(inputs.audio1), toAudio(inputs.audio2));
    const merge = MERGES[textOf(inputs, "merge_method")];
    let loudest = 0;
    const waveform = first.waveform.map((channels, entry) =>
      channels.map((samples, channel) => {
        const others = second.waveform[entry] ?? second.waveform[0] ?? [];
        // A mono sound joins both channels of a stereo one.
        const other = others[channel] ?? others[0];
        return samples.map((value, i) => {
          const merged = merge?.(value, other?.[i] ?? 0) ?? value;
          loudest = Math.max(loudest, Math.abs(merged));
          return merged;
        });
      }),
    );
    const merged = { sampleRate: first.sampleRate, waveform };
    return one(loudest > 1 ? changedSamples(merged, (samples) => samples.map((value) => value / loudest)) : merged);
  },
};

const audioAdjustVolume: NodeImplementation = {
  run(inputs) {
    const audio = toAudio(inputs.audio);
    const decibels = numberOf(inputs, "volume");
    if (decibels === 0) return one(audio);
    const gain = Math.fround(10 ** (decibels / 20));
    return one(changedSamples(audio, (samples) => samples.map((value) => value * gain)));
  },
};

// ---- sound from simulated models

/** The rate of the models that make sound. */
const MODEL_RATE = 44100;

const emptyLatentAudio: NodeImplementation = {
  run: (inputs) => ({
    outputs: [
      {
        latent: true,
        batch: numberOf(inputs, "batch_size"),
        frames: 1,
        width: 8,
        height: 8,
        content: { type: "empty" },
        seconds: numberOf(inputs, "seconds"),
      } satisfies Latent,
    ],
  }),
};

const vaeDecodeAudio: NodeImplementation = {
  run(inputs) {
    const latent = toLatent(inputs.samples);
    const length = Math.round((latent.seconds ?? 1) * MODEL_RATE);
    const recipe = latent.content.type === "painted" ? latent.content.recipe : undefined;
    const waveform = Array.from({ length: latent.batch }, (_, entry) =>
      recipe === undefined
        ? [new Float32Array(length), new Float32Array(length)]
        : tuneFor(`${recipe.prompt}|${recipe.seed}|${recipe.variant}|${entry}`, length, MODEL_RATE),
    );
    return one({ sampleRate: MODEL_RATE, waveform });
  },
};

const vaeEncodeAudio: NodeImplementation = {
  run(inputs) {
    const audio = toAudio(inputs.audio);
    const seconds = (audio.waveform[0]?.[0]?.length ?? 0) / audio.sampleRate;
    const latent: Latent = {
      latent: true,
      batch: audio.waveform.length,
      frames: 1,
      width: 8,
      height: 8,
      content: { type: "empty" },
      seconds,
    };
    return { outputs: [latent] };
  },
};

const audioEncoderEncode: NodeImplementation = {
  run: (inputs) => ({ outputs: [{ audioEncoderOutput: true, rate: toAudio(inputs.audio).sampleRate }] }),
};

export const audioNodes: Readonly<Record<string, NodeImplementation>> = {
  EmptyAudio: emptyAudio,
  SaveAudio: saveAudio,
  SaveAudioMP3: cannotEncode("MP3"),
  SaveAudioOpus: cannotEncode("Opus"),
  PreviewAudio: previewAudio,
  LoadAudio: loadAudio,
  TrimAudioDuration: trimAudioDuration,
  SplitAudioChannels: splitAudioChannels,
  AudioConcat: audioConcat,
  AudioMerge: audioMerge,
  AudioAdjustVolume: audioAdjustVolume,
  EmptyLatentAudio: emptyLatentAudio,
  EmptyAceStepLatentAudio: emptyLatentAudio,
  VAEDecodeAudio: vaeDecodeAudio,
  VAEEncodeAudio: vaeEncodeAudio,
  AudioEncoderEncode: audioEncoderEncode,
};
