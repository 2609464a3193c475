import { createHash } from "node:crypto";
import { createReadStream, openAsBlob } from "node:fs";
import { stat } from "node:fs/promises";
import { basename, resolve } from "node:path";
import type { Call, Command, Outcome } from "#cli/command";
import { CliError } from "#cli/errors";
import { fileReason } from "#cli/file-reason";
import { progressBar } from "#cli/progress-bar";
import { byteSize, textTable } from "#cli/text-table";
import type { Pilotlight } from "#client/pilotlight";
import { ModelType } from "#contract/build";
import { PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX } from "#contract/limits";
import { type Model, ModelStatus } from "#contract/model";
import { suggestedFilename } from "#contract/model-source";

const model = { name: "model", required: true };
const placeOptions = {
  type: { type: "string" },
  filename: { type: "string" },
  "allow-unsafe": { type: "boolean" },
  "no-wait": { type: "boolean" },
} as const;
const placeHelp = {
  type: "ComfyUI's folder, such as checkpoints, loras, vae",
  filename: "the name in that folder",
  "allow-unsafe": "take a file that is not safetensors, which may run code where it is loaded",
  "no-wait": "do not wait until it is verified",
};

export const modelsList: Command = {
  path: ["models", "ls"],
  summary: "List the workspace's models, newest first",
  examples: ["pilotlight models ls", "pilotlight models ls --type loras --status ready"],
  positionals: [],
  options: {
    type: { type: "string" },
    status: { type: "string" },
    limit: { type: "string" },
    cursor: { type: "string" },
  },
  optionHelp: {
    type: placeHelp.type,
    status: `one of ${ModelStatus.options.join(", ")}`,
    limit: `models, 1 to ${PAGE_SIZE_MAX}`,
    cursor: "goes on where a list ended",
  },
  run: async (call) => {
    const status = statusNamed(call.text("status"));
    const limit = call.integer("limit", 1, PAGE_SIZE_MAX) ?? PAGE_SIZE_DEFAULT;
    const client = await call.connect();
    const page = await client.models.page(
      { type: call.text("type"), status, limit, cursor: call.text("cursor") },
      { signal: call.interrupts.signal },
    );
    const rows = page.data.map((each) => [
      each.sha256?.slice(0, 12) ?? each.id,
      each.status,
      each.type,
      each.filename,
      each.size === null ? "" : byteSize(each.size),
      each.format ?? "",
    ]);
    const more = page.next_cursor === null ? [] : [`More: --cursor ${page.next_cursor}`];
    return {
      data: page,
      ids: page.data.map(nameOf),
      text: [...textTable(["model", "status", "type", "filename", "size", "format"], rows), ...more],
    };
  },
};

export const modelsShow: Command = {
  path: ["models", "show"],
  summary: "Show a model, by its sha256 or id",
  examples: ["pilotlight models show mdl_…"],
  positionals: [model],
  options: {},
  optionHelp: {},
  run: async (call) => {
    const client = await call.connect();
    const found = await client.models.get(call.positionals[0] ?? "", { signal: call.interrupts.signal });
    return outcomeOf(found);
  },
};

export const modelsPush: Command = {
  path: ["models", "push"],
  summary: "Upload a model; run again, it goes on where it broke off",
  examples: ["pilotlight models push flux1-dev.safetensors --type diffusion_models"],
  positionals: [{ name: "file", required: true }],
  options: placeOptions,
  optionHelp: { ...placeHelp, filename: "the name in that folder; the file's own when left out" },
  run: async (call) => {
    const type = requiredType(call);
    const path = resolve(call.workingDirectory, call.positionals[0] ?? "");
    const size = await sizeOf(path);
    const client = await call.connect();
    const sha256 = await hashOf(call, path, size);
    const filename = call.text("filename") ?? basename(path);
    const { signal } = call.interrupts;
    const begun = await interruptible(call, `Run it again to go on; \`models rm ${sha256}\` gives it up.`, async () =>
      client.models.upload(await openAsBlob(path), {
        sha256,
        type,
        filename,
        allowUnsafe: call.flag("allow-unsafe"),
        signal,
        onProgress: (bytesDone) => showProgress(call, "uploading", filename, bytesDone, size),
      }),
    );
    return ended(call, client, begun);
  },
};

export const modelsImport: Command = {
  path: ["models", "import"],
  summary: "Have a model fetched from an https address, Hugging Face or Civitai",
  examples: [
    "pilotlight models import hf:owner/name@main/model.safetensors --type checkpoints",
    "pilotlight models import civitai:128713 --type loras --filename style.safetensors",
  ],
  positionals: [{ name: "source", required: true }],
  options: { ...placeOptions, sha256: { type: "string" } },
  optionHelp: {
    ...placeHelp,
    filename: "the name in that folder; the source's own when left out",
    sha256: "what the file must hash to; Hugging Face and Civitai say it themselves",
  },
  run: async (call) => {
    const type = requiredType(call);
    const source = call.positionals[0] ?? "";
    const filename = call.text("filename") ?? suggestedFilename(source);
    if (filename === undefined) throw new CliError("usage", "--filename is missing: the source names no file");
    const sha256 = call.text("sha256");
    const client = await call.connect();
    const begun = await client.models.importFrom(
      {
        source,
        type,
        filename,
        allow_unsafe: call.flag("allow-unsafe"),
        ...(sha256 === undefined ? {} : { sha256 }),
      },
      { signal: call.interrupts.signal },
    );
    return ended(call, client, begun);
  },
};

export const modelsRemove: Command = {
  path: ["models", "rm"],
  summary: "Delete a model and its bytes, or stop its upload or import",
  examples: ["pilotlight models rm mdl_…"],
  positionals: [model],
  options: { force: { type: "boolean" } },
  optionHelp: { force: "also when an endpoint's active release needs it" },
  run: async (call) => {
    const name = call.positionals[0] ?? "";
    await (await call.connect()).models.remove(name, { force: call.flag("force") }, { signal: call.interrupts.signal });
    return { data: { removed: name }, text: `${name} is deleted.` };
  },
};

/** Waits until the model is verified, unless that is not wanted. */
async function ended(call: Call, client: Pilotlight, begun: Model): Promise<Outcome> {
  if (call.flag("no-wait")) return outcomeOf(begun);
  const show = (now: Model) => {
    call.output.event({ event: "model", model: now.id, data: now });
    if (now.notice !== null) call.output.progress(`${now.filename}: waits. ${now.notice}`, now.notice);
    else showProgress(call, now.status, now.filename, now.bytes_done, now.size);
  };
  const options = { signal: call.interrupts.signal, onProgress: show };
  const goesOn = `It goes on; \`models show ${begun.id}\` says how far it is.`;
  return outcomeOf(await interruptible(call, goesOn, () => client.models.wait(begun.id, options)));
}

/** @throws CliError `interrupted`, with what is left to do */
async function interruptible<T>(call: Call, meanwhile: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (call.interrupts.signal.aborted) throw new CliError("interrupted", meanwhile);
    throw error;
  }
}

function outcomeOf(found: Model): Outcome {
  const size = found.size === null ? "size unknown" : byteSize(found.size);
  const done =
    found.status === "importing" || found.status === "uploading" ? `, ${byteSize(found.bytes_done)} done` : "";
  return {
    data: { model: found },
    ids: [nameOf(found)],
    text: [
      `${found.id} is ${found.status}${found.reason === null ? "" : `: ${found.reason}`}`,
      ...(found.sha256 === null ? [] : [`  sha256 ${found.sha256}`]),
      `  ${size}${found.format === null ? "" : `, ${found.format}`}${done}`,
      ...(found.notice === null ? [] : [`  waits: ${found.notice}`]),
      ...found.places.map(({ type, filename }) => `  models/${type}/${filename}`),
      ...found.sources.map((source) => `  from ${source}`),
    ],
  };
}

function nameOf({ sha256, id }: Model): string {
  return sha256 ?? id;
}

function requiredType(call: Call): string {
  const type = ModelType.safeParse(call.text("type"));
  if (!type.success) throw new CliError("usage", `--type takes ComfyUI's folder, such as checkpoints, loras or vae`);
  return type.data;
}

function statusNamed(text: string | undefined): ModelStatus | undefined {
  if (text === undefined) return undefined;
  const status = ModelStatus.safeParse(text);
  if (!status.success) throw new CliError("usage", `--status takes one of ${ModelStatus.options.join(", ")}`);
  return status.data;
}

async function sizeOf(path: string): Promise<number> {
  try {
    const found = await stat(path);
    if (!found.isFile()) throw new CliError("file_unreadable", `${path} is no file`);
    if (found.size === 0) throw new CliError("file_unreadable", `${path} is empty`);
    return found.size;
  } catch (cause) {
    if (cause instanceof CliError) throw cause;
    throw new CliError("file_unreadable", `${path} cannot be read: ${fileReason(cause)}`, undefined, { cause });
  }
}

async function hashOf(call: Call, path: string, size: number): Promise<string> {
  const hash = createHash("sha256");
  let bytesDone = 0;
  return interruptible(call, "Nothing was sent.", async () => {
    try {
      for await (const chunk of createReadStream(path, { signal: call.interrupts.signal })) {
        hash.update(chunk as Uint8Array);
        bytesDone += (chunk as Uint8Array).byteLength;
        showProgress(call, "hashing", basename(path), bytesDone, size);
      }
    } catch (cause) {
      throw new CliError("file_unreadable", `${path} cannot be read: ${fileReason(cause)}`, undefined, { cause });
    }
    return hash.digest("hex");
  });
}

function showProgress(call: Call, doing: string, filename: string, bytesDone: number, size: number | null): void {
  const fraction = size === null || size === 0 ? 0 : Math.min(1, bytesDone / size);
  const of = size === null ? byteSize(bytesDone) : `${byteSize(bytesDone)} of ${byteSize(size)}`;
  call.output.progress(`${doing} ${filename} ${progressBar(fraction)} ${of}`, `${doing} ${Math.floor(fraction * 10)}`);
}
