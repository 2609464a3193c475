/** Builds in other tools' formats. */
import { stringify } from "yaml";
import type { BuildManifest } from "#contract/build";
import { writeComfyPack } from "./comfy-pack.ts";
import { writeComfyBuild } from "./definition.ts";
import type { ExportedBuild } from "./exported-build.ts";
import { writeManagerSnapshot } from "./manager-snapshot.ts";

export const EXPORT_FORMATS = ["manager-snapshot", "manager-snapshot-yaml", "comfy-pack", "comfy-build"] as const;
export type ExportFormat = (typeof EXPORT_FORMATS)[number];

/**
 * Writes a build for another tool, with what is lost by it.
 * @param name what comfy-cli shall call the build
 */
export function exportBuild(manifest: BuildManifest, format: ExportFormat, name: string): ExportedBuild {
  switch (format) {
    case "manager-snapshot": {
      const { files, lost } = writeManagerSnapshot(manifest);
      return { files, lost };
    }
    case "manager-snapshot-yaml": {
      const { document, lost } = writeManagerSnapshot(manifest);
      const content = stringify(document, { lineWidth: 0, defaultStringType: "QUOTE_DOUBLE", defaultKeyType: "PLAIN" });
      return { files: [{ name: "snapshot.yaml", content }], lost };
    }
    case "comfy-pack":
      return writeComfyPack(manifest);
    case "comfy-build":
      return writeComfyBuild(manifest, name);
  }
}
