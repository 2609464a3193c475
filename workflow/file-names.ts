/** Names of files inside a graph: which fields hold one, and which names reach outside ComfyUI's own folders. */
import type { Json } from "#contract/exact-json";
import type { MediaKind } from "#contract/workflow";
import type { GraphNode } from "./graph.ts";
import type { DeclaredInput } from "./object-info.ts";

const MODEL_EXTENSION = /\.(safetensors|sft|ckpt|pt|pt2|pth|bin|gguf|onnx|engine|patch|torchscript|pkl)$/i;
const FILE_EXTENSION =
  /\.(safetensors|sft|ckpt|pt|pt2|pth|bin|gguf|onnx|engine|pkl|ya?ml|json|txt|csv|png|jpe?g|webp|gif|bmp|tiff?|exr|mp4|webm|mov|mkv|avi|wav|mp3|flac|ogg|opus|m4a|glb|gltf|obj|latent|ttf|otf)$/i;

/** Fields in which core loaders, and the packs that follow them, name a model file. */
const MODEL_FIELD =
  /^(ckpt|checkpoint|unet|vae|lora|clip|control_net|controlnet|style_model|gligen|hypernetwork|clip_vision|upscale_model|model|ipadapter|motion_model|diffusion_model|text_encoder)(_name|_file|_path|_model)?[0-9]*$/;
const PATH_FIELD = /(^|_)(path|dir|directory|folder|file|filename|url)s?($|_)/i;

/** True for a literal that names a model file: the machine has it or has not, callers do not choose it. */
export function isModelFile(field: string, value: Json): boolean {
  return typeof value === "string" && (MODEL_FIELD.test(field) || hasModelExtension(value));
}

export function hasModelExtension(value: string): boolean {
  return value.length < 500 && !/[\n,]/.test(value) && MODEL_EXTENSION.test(value);
}

/** True for a value that looks like a file's name, as the lists of loaders hold them. */
export function isFileName(value: Json): boolean {
  return typeof value === "string" && value.length < 500 && FILE_EXTENSION.test(value);
}

/** True for a field whose text is a path, a folder or an address. */
export function isPathField(field: string): boolean {
  return PATH_FIELD.test(field);
}

/**
 * The kind of file a field takes, undefined when it takes none. The class's own description decides; without one, its
 * name does.
 */
export function mediaOf(
  node: GraphNode,
  field: string,
  declared: DeclaredInput | undefined,
  known: boolean,
): MediaKind | undefined {
  const { classType } = node;
  if (declared !== undefined) {
    const { options } = declared;
    if (options.image_upload === true) return /mask/i.test(classType) ? "mask" : "image";
    if (options.audio_upload === true) return "audio";
    if (options.video_upload === true) return "video";
    if (options.file_upload === true || (classType === "LoadLatent" && field === "latent")) return "file";
  }
  // A picture written out in base64 is no file's name.
  if (known || !/load/i.test(classType) || /base64|lora|checkpoint|model|vae|unet|clip|controlnet/i.test(classType))
    return undefined;
  if (field === "image") return /mask/i.test(classType) ? "mask" : "image";
  if (field === "mask") return "mask";
  if (field === "audio" || field === "audio_file") return "audio";
  if (field === "video") return "video";
  return field === "file" && /video/i.test(classType) ? "video" : undefined;
}

/**
 * What is wrong with the name of an input file, in words; undefined for a good one. ComfyUI itself takes absolute
 * paths, `..` and the endings `[output]` and `[temp]`, and with them reads other jobs' files or the machine's.
 */
export function inputFileFault(name: string): string | undefined {
  if (hasControlCharacter(name)) return "holds a control character";
  if (/^https?:\/\//i.test(name)) return undefined;
  if (name.includes("\\")) return "holds a backslash; folders are divided by /";
  if (/ ?\[(output|temp)\]\s*$/i.test(name)) return "reads ComfyUI's output or temp folder; choose a file from input";
  return outsideFault(name);
}

/** The same for the name of a model file. Windows writes folders with a backslash, which is allowed there. */
export function modelFileFault(name: string): string | undefined {
  if (hasControlCharacter(name)) return "holds a control character";
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(name)) return "is an address; name a model file that the build holds";
  return outsideFault(name.replaceAll("\\", "/"));
}

/** The same for a `filename_prefix`, which says where a node saves. */
export function filenamePrefixFault(prefix: string): string | undefined {
  if (hasControlCharacter(prefix)) return "holds a control character";
  return outsideFault(prefix.replaceAll("\\", "/"));
}

function outsideFault(name: string): string | undefined {
  if (name.split("/").includes("..")) return 'leaves its folder with ".."';
  if (/^([/~]|[a-z]:)/i.test(name)) return "is an absolute path";
  return undefined;
}

function hasControlCharacter(text: string): boolean {
  return /[\u0000-\u001f\u007f]/.test(text);
}
