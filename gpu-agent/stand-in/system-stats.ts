/** `GET /system_stats`. The versions are those of the server being stood in for; the rest says what this really is. */
import { freemem, totalmem } from "node:os";
import type { Json } from "#contract/exact-json";
import type { Generation } from "./generations.ts";

export function systemStats(generation: Generation, argv: readonly string[]): Json {
  const memory = { total: totalmem(), free: freemem() };
  return {
    system: {
      os: generation.os,
      ram_total: memory.total,
      ram_free: memory.free,
      comfyui_version: generation.version,
      required_frontend_version: null,
      installed_templates_version: null,
      required_templates_version: null,
      python_version: "none: this is the Pilotlight stand-in, a Node program",
      pytorch_version: "none",
      embedded_python: false,
      argv: [...argv],
      pilotlight_stand_in: true,
    },
    devices: [
      {
        name: "cpu",
        type: "cpu",
        index: null,
        vram_total: memory.total,
        vram_free: memory.free,
        torch_vram_total: memory.total,
        torch_vram_free: memory.free,
      },
    ],
  };
}

/** What `GET /features` and the feature-flag handshake answer. */
export function serverFeatures(generation: Generation, bodyBytesMax: number): Json {
  const both = { supports_preview_metadata: true, max_upload_size: bodyBytesMax };
  if (!generation.jobsApi) return both;
  return {
    ...both,
    supports_model_type_tags: true,
    extension: { manager: { supports_v4: true } },
    node_replacements: true,
    assets: false,
  };
}
