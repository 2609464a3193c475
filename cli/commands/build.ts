/** Builds as files: taken in from other tools, shown, named, and written out again. None of these needs a server. */
import { join } from "node:path";
import {
  finished,
  judged,
  readBuild,
  setHelp,
  setOption,
  setReadings,
  shownData,
  shownText,
  wholeBuild,
  writeWhole,
} from "#cli/build-report";
import type { Command } from "#cli/command";
import { CliError } from "#cli/errors";
import { stateRootOf } from "#cli/local/state-folder";
import { scanInstall } from "#cli/scan/scan-install";
import { stringifyExactJson } from "#contract/exact-json";
import { EXPORT_FORMATS, exportBuild } from "#workflow/build/export-build";
import { mergeDrafts } from "#workflow/build/merge-drafts";

const outOption = { out: { type: "string" }, draft: { type: "boolean" } } as const;
const outHelp = {
  out: "write the build there, as JSON",
  draft: "succeed although something is missing: the file has null for it",
};

export const buildImport: Command = {
  path: ["build", "import"],
  summary: "Make a build of other tools' files: snapshots, comfy-build.yaml, requirements.txt, workflows",
  examples: [
    "pilotlight build import snapshot.json requirements.txt --out build.json",
    "pilotlight build import comfy-build.yaml --set comfyCommit=<40 digits> --out build.json",
    "pilotlight build import build.json workflow.json --draft --out build.json",
  ],
  positionals: [{ name: "file", required: true, repeated: true }],
  options: { ...outOption, ...setOption },
  optionHelp: { ...outHelp, ...setHelp },
  forPeople: true,
  run: async (call) => finished(call, await readBuild(call)),
};

export const buildShow: Command = {
  path: ["build", "show"],
  summary: "Show what a build holds, and what it still lacks",
  examples: ["pilotlight build show build.json", "pilotlight build show snapshot.json --json"],
  positionals: [{ name: "file", required: true, repeated: true }],
  options: {},
  optionHelp: {},
  forPeople: true,
  run: async (call) => {
    const build = await readBuild(call);
    return {
      data: shownData(build),
      text: shownText(build),
      ...(build.digest === null ? {} : { ids: [build.digest] }),
    };
  },
};

export const buildDigestOf: Command = {
  path: ["build", "digest"],
  summary: "Print the name of a build: the sha256 of what a machine gets",
  examples: ["pilotlight build digest build.json"],
  positionals: [{ name: "file", required: true, repeated: true }],
  options: {},
  optionHelp: {},
  forPeople: true,
  run: async (call) => {
    const build = await readBuild(call);
    wholeBuild(build);
    const { digest } = build;
    return { data: { digest }, text: digest ?? "", ids: digest === null ? [] : [digest] };
  },
};

export const buildExport: Command = {
  path: ["build", "export"],
  summary: "Write a build for ComfyUI-Manager, comfy-pack or comfy-cli",
  examples: [
    "pilotlight build export build.json --format comfy-build --out .",
    "pilotlight build export build.json --format manager-snapshot",
  ],
  positionals: [{ name: "file", required: true, repeated: true }],
  options: { format: { type: "string" }, out: { type: "string" }, name: { type: "string" } },
  optionHelp: {
    format: EXPORT_FORMATS.join(", "),
    out: "a folder for the files; without it they are printed",
    name: "what comfy-cli shall call the build",
  },
  forPeople: true,
  run: async (call) => {
    const wanted = call.text("format");
    const format = EXPORT_FORMATS.find((each) => each === wanted);
    if (format === undefined) {
      const given = wanted === undefined ? "is missing" : `is not ${wanted}`;
      throw new CliError("usage", `--format ${given}: one of ${EXPORT_FORMATS.join(", ")}`);
    }
    const build = await readBuild(call);
    const { files, lost } = exportBuild(wholeBuild(build), format, call.text("name") ?? "pilotlight");
    const folder = call.text("out");
    for (const words of lost) call.output.note(`lost: ${words}`);
    if (folder === undefined) {
      // One file alone is the output itself, to be piped on.
      const text = files.flatMap(({ name, content }) => [
        ...(files.length === 1 ? [] : [`# ${name}`]),
        content.trimEnd(),
      ]);
      return { data: { schema: "build-export/1", format, digest: build.digest, files, lost }, text };
    }
    for (const { name, content } of files) await writeWhole(join(folder, name), content, call.workingDirectory);
    const written = files.map(({ name }) => ({ name, path: join(folder, name) }));
    return {
      data: { schema: "build-export/1", format, digest: build.digest, files: written, lost },
      text: written.map(({ path }) => `Written to ${path}.`),
    };
  },
};

export const buildScan: Command = {
  path: ["build", "scan"],
  summary: "Make a build of an installation of ComfyUI: commits, packages, models and flags as they are there",
  examples: [
    "pilotlight build scan --comfyui-dir ~/ComfyUI --workflow workflow.json --hash --out build.json",
    "pilotlight build scan --comfyui-dir ~/ComfyUI --comfyui-url http://127.0.0.1:8188 --all-models --hash --out build.json",
  ],
  positionals: [],
  options: {
    "comfyui-dir": { type: "string" },
    "comfyui-url": { type: "string" },
    workflow: { type: "string" },
    "all-models": { type: "boolean" },
    hash: { type: "boolean" },
    python: { type: "string" },
    "pip-index": { type: "string", multiple: true },
    "object-info-out": { type: "string" },
    ...outOption,
    ...setOption,
  },
  optionHelp: {
    "comfyui-dir": "the folder of its main.py",
    "comfyui-url": "where it runs, if it does (--url too): its flags, its classes",
    workflow: "take the models of this workflow",
    "all-models": "take every model file there is",
    hash: "read models whose sha256 is not remembered",
    python: "its interpreter; else the venv beside it",
    "pip-index": "an index of the lock; the first in place of pip's own",
    "object-info-out": "write there what /object_info says of the workflow's classes",
    ...outHelp,
    ...setHelp,
  },
  forPeople: true,
  run: async (call) => {
    const folder = call.text("comfyui-dir");
    if (folder === undefined) throw new CliError("usage", "--comfyui-dir is missing: the folder of ComfyUI's main.py");
    const scan = await scanInstall({
      folder,
      url: call.text("comfyui-url") ?? call.text("url"),
      workflow: call.text("workflow"),
      allModels: call.flag("all-models"),
      hash: call.flag("hash"),
      python: call.text("python"),
      pipIndexes: call.texts("pip-index"),
      hashMemory: join(stateRootOf(call.env), "model-hashes.json"),
      workingDirectory: call.workingDirectory,
      env: call.env,
      output: call.output,
      signal: call.interrupts.signal,
    });
    const excerptPath = call.text("object-info-out");
    if (excerptPath !== undefined) {
      if (scan.objectInfo === null) {
        throw new CliError(
          "usage",
          "--object-info-out needs a --workflow that can be read, and --comfyui-url of a running ComfyUI",
        );
      }
      await writeWhole(excerptPath, `${stringifyExactJson(scan.objectInfo)}\n`, call.workingDirectory);
    }
    const merged = mergeDrafts([...setReadings(call), { ...scan, name: "scan" }]);
    const warnings = merged.warnings.map((warning) => warning.replace(/^scan: /, ""));
    return finished(call, await judged({ ...merged, warnings }), { object_info_out: excerptPath ?? null });
  },
};
