/** `POST /upload/image` and `/upload/mask`: files into the input folder (or another), under a name that is free. */
import { createHash } from "node:crypto";
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import busboy from "busboy";
import { isJsonObject, parseExactJson } from "#contract/exact-json";
import { annotatedName, folderOf, isWithin } from "./annotated-names.ts";
import { empty, json, type Reply, type Request } from "./http-server.ts";
import type { Folders } from "./node.ts";
import { PythonError } from "./python-values.ts";

interface UploadedFile {
  readonly filename: string;
  readonly bytes: Buffer;
}

interface Form {
  readonly fields: ReadonlyMap<string, string>;
  readonly files: ReadonlyMap<string, UploadedFile>;
}

type Save = (upload: UploadedFile, form: Form, file: string) => Promise<void>;

export async function uploadImage(request: Request, folders: Folders): Promise<Reply> {
  return await upload(await readForm(request), folders, (image, _form, file) => writeFile(file, image.bytes));
}

/** Keeps the colours of an earlier file and takes only the alpha of the upload. */
export async function uploadMask(request: Request, folders: Folders): Promise<Reply> {
  return await upload(await readForm(request), folders, (mask, form, file) => saveMask(mask, form, file, folders));
}

async function upload(form: Form, folders: Folders, save: Save): Promise<Reply> {
  const type = form.fields.get("type") ?? "input";
  const base = folderOf(type, folders);
  if (base === undefined) throw new PythonError("UnboundLocalError", "cannot access local variable 'type_dir'");
  if (form.fields.has("image")) throw new PythonError("AttributeError", "'str' object has no attribute 'file'");
  const image = form.files.get("image");
  if (image === undefined || image.filename === "") return empty(400);

  const subfolder = form.fields.get("subfolder") ?? "";
  const folder = path.resolve(base, path.normalize(subfolder));
  if (!isWithin(base, path.resolve(folder, image.filename))) return empty(400);
  await mkdir(folder, { recursive: true });

  const overwrite = ["true", "1"].includes(form.fields.get("overwrite") ?? "");
  const { name, isThere } = overwrite ? { name: image.filename, isThere: false } : await freeName(folder, image);
  if (!isThere) await save(image, form, path.resolve(folder, name));
  return json({ name, subfolder, type });
}

/** The first of `a.png`, `a (1).png`, `a (2).png` that is free or already holds these very bytes. */
async function freeName(folder: string, image: UploadedFile): Promise<{ name: string; isThere: boolean }> {
  const wanted = createHash("sha256").update(image.bytes).digest("hex");
  const extension = path.extname(image.filename);
  const stem = image.filename.slice(0, image.filename.length - extension.length);
  for (let count = 0; ; count += 1) {
    const name = count === 0 ? image.filename : `${stem} (${count})${extension}`;
    const file = path.resolve(folder, name);
    if (!(await exists(file))) return { name, isThere: false };
    const found = createHash("sha256")
      .update(await readFile(file))
      .digest("hex");
    if (found === wanted) return { name, isThere: true };
  }
}

async function saveMask(mask: UploadedFile, form: Form, file: string, folders: Folders): Promise<void> {
  const reference = parseExactJson(form.fields.get("original_ref") ?? "", { pythonNumbers: true });
  if (!isJsonObject(reference) || typeof reference.filename !== "string")
    throw new PythonError("KeyError", "'filename'");
  const annotated = annotatedName(reference.filename);
  // A reference that cannot be followed is no error: the reply says success, and no file is written.
  if (annotated.name === "" || annotated.name.startsWith("/") || annotated.name.includes("..")) return;
  const base = folderOf(annotated.type ?? String(reference.type ?? "output"), folders);
  if (base === undefined) return;
  const folder = path.resolve(base, String(reference.subfolder ?? ""));
  if (!isWithin(base, folder)) return;
  const original = path.join(folder, annotated.name);
  if (!(await exists(original))) return;

  const { default: sharp } = await import("sharp");
  const colours = await sharp(original).removeAlpha().toColourspace("srgb").raw().toBuffer({ resolveWithObject: true });
  const { width, height } = colours.info;
  const alpha = await sharp(mask.bytes).ensureAlpha().extractChannel(3).raw().toBuffer({ resolveWithObject: true });
  if (alpha.info.width !== width || alpha.info.height !== height)
    throw new PythonError("ValueError", "illegal image mode");
  await sharp(colours.data, { raw: { width, height, channels: 3 } })
    .joinChannel(alpha.data, { raw: { width, height, channels: 1 } })
    .png({ compressionLevel: 4 })
    .toFile(file);
}

async function exists(file: string): Promise<boolean> {
  try {
    await stat(file);
    return true;
  } catch {
    return false;
  }
}

/** Reads multipart or form-encoded bodies; any other body is a form without fields. */
async function readForm(request: Request): Promise<Form> {
  const bytes = await request.bytes();
  const fields = new Map<string, string>();
  const files = new Map<string, UploadedFile>();
  const type = request.headers["content-type"] ?? "";
  if (!/^(multipart\/form-data|application\/x-www-form-urlencoded)/i.test(type)) return { fields, files };
  const size = bytes.length + 1;
  const parser = busboy({
    headers: { ...request.headers, "content-type": type },
    preservePath: true,
    defParamCharset: "utf8",
    limits: { fieldSize: size, fileSize: size },
  });
  parser.on("field", (name, value) => {
    if (!fields.has(name)) fields.set(name, value);
  });
  parser.on("file", (name, stream, { filename }) => {
    const parts: Buffer[] = [];
    stream.on("data", (part: Buffer) => parts.push(part));
    stream.on("end", () => {
      const bytes = Buffer.concat(parts);
      // A part without a file name is a text, and names lose their leading slashes: aiohttp reads them so.
      const shortened = (filename ?? "").replace(/^[\\/]+/, "");
      if (files.has(name) || fields.has(name)) return;
      if (shortened === "") fields.set(name, bytes.toString("utf8"));
      else files.set(name, { filename: shortened, bytes });
    });
  });
  await new Promise<void>((resolve, reject) => {
    parser.on("close", resolve);
    parser.on("error", reject);
    parser.end(bytes);
  });
  return { fields, files };
}
