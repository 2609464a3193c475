/** Classes that make, read and save sound. */
import type { ObjectInfo } from "../object-info.ts";
import { extras, float, int, oneOf, SEED_MAX, text, v1 } from "./builder.ts";

const AUDIO = "AUDIO";
const PREFIX = text("audio/ComfyUI");

export const audio: ObjectInfo = v1(extras("audio"), {
  SaveAudio: {
    title: "Save Audio (FLAC)",
    category: "audio",
    inputs: { audio: AUDIO, filename_prefix: PREFIX },
    hidden: "saves",
    isOutput: true,
  },
  SaveAudioMP3: {
    title: "Save Audio (MP3)",
    category: "audio",
    inputs: { audio: AUDIO, filename_prefix: PREFIX, quality: oneOf(["V0", "128k", "320k"], { default: "V0" }) },
    hidden: "saves",
    isOutput: true,
  },
  SaveAudioOpus: {
    title: "Save Audio (Opus)",
    category: "audio",
    inputs: {
      audio: AUDIO,
      filename_prefix: PREFIX,
      quality: oneOf(["64k", "96k", "128k", "192k", "320k"], { default: "128k" }),
    },
    hidden: "saves",
    isOutput: true,
  },
  PreviewAudio: {
    title: "Preview Audio",
    category: "audio",
    inputs: { audio: AUDIO },
    hidden: "saves",
    isOutput: true,
  },
  LoadAudio: {
    title: "Load Audio",
    category: "audio",
    inputs: { audio: oneOf([], { audio_upload: true }) },
    outputs: [AUDIO],
  },
  RecordAudio: { title: "Record Audio", category: "audio", inputs: { audio: "AUDIO_RECORD" }, outputs: [AUDIO] },
  TrimAudioDuration: {
    title: "Trim Audio Duration",
    category: "audio",
    inputs: {
      audio: AUDIO,
      start_index: float(0, -SEED_MAX, SEED_MAX, 0.01),
      duration: float(60, 0, undefined, 0.01),
    },
    outputs: [AUDIO],
  },
  SplitAudioChannels: {
    title: "Split Audio Channels",
    category: "audio",
    inputs: { audio: AUDIO },
    outputs: { left: AUDIO, right: AUDIO },
  },
  AudioConcat: {
    title: "Audio Concat",
    category: "audio",
    inputs: { audio1: AUDIO, audio2: AUDIO, direction: oneOf(["after", "before"], { default: "after" }) },
    outputs: [AUDIO],
  },
  AudioMerge: {
    title: "Audio Merge",
    category: "audio",
    inputs: { audio1: AUDIO, audio2: AUDIO, merge_method: oneOf(["add", "mean", "subtract", "multiply"]) },
    outputs: [AUDIO],
  },
  AudioAdjustVolume: {
    title: "Audio Adjust Volume",
    category: "audio",
    inputs: { audio: AUDIO, volume: int(1, -100, 100) },
    outputs: [AUDIO],
  },
  EmptyAudio: {
    title: "Empty Audio",
    category: "audio",
    inputs: { duration: float(60, 0, SEED_MAX, 0.01), sample_rate: int(44100), channels: int(2, 1, 2) },
    outputs: [AUDIO],
  },
});
