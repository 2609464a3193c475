import * as z from "zod";
import { route } from "#contract/api/route";
import { GpuType } from "#contract/gpu-types";
import { PersonText } from "#contract/person-text";
import { GpuTypeName } from "#contract/replica";

const tag = "GPU types";
const GpuTypeParams = z.object({ gpu_type: GpuTypeName });

/** A type of card as a workspace has it. */
export const WorkspaceGpuType = GpuType.extend({
  own: z.boolean().meta({ description: "The workspace added it; it is not in the shipped table" }),
  changed: z
    .array(z.enum(["price_per_hour", "suits"]))
    .meta({ description: "What the workspace has set otherwise than the shipped table" }),
}).meta({ id: "WorkspaceGpuType" });
export type WorkspaceGpuType = z.infer<typeof WorkspaceGpuType>;

const { price_per_hour, suits, title, vram_mb, bandwidth_gb_s, matches } = GpuType.shape;

/** For a type of the shipped table the price and what it suits; for one of the workspace's own everything. */
export const GpuTypeChange = z
  .strictObject({
    price_per_hour: price_per_hour.optional(),
    suits: PersonText.max(500)
      .optional()
      .meta(suits.meta() ?? {}),
    title: PersonText.min(1)
      .max(100)
      .optional()
      .meta(title.meta() ?? {}),
    vram_mb: vram_mb.optional(),
    bandwidth_gb_s: bandwidth_gb_s.optional(),
    matches: matches.optional(),
  })
  .meta({ id: "GpuTypeChange" });
export type GpuTypeChange = z.infer<typeof GpuTypeChange>;

export const listGpuTypes = route({
  id: "listGpuTypes",
  tag,
  method: "get",
  path: "/v1/gpu-types",
  summary: "List types of GPU: memory, price, what each suits",
  description: "The shipped table with what the workspace has changed or added.",
  scope: "read",
  status: 200,
  returns: z.object({
    data: z.array(WorkspaceGpuType),
    prices_as_of: z.iso.date().meta({ description: "When the shipped prices were read" }),
  }),
  problems: [],
});
export const putGpuType = route({
  id: "putGpuType",
  tag,
  method: "put",
  path: "/v1/gpu-types/{gpu_type}",
  summary: "Set the price of a type of GPU, or add a type",
  description:
    "For a type of the shipped table: price_per_hour and suits; what is left out is as in the table. Under any other name: a type of your own, with vram_mb, matches and price_per_hour.",
  scope: "admin",
  params: GpuTypeParams,
  body: GpuTypeChange,
  status: 200,
  returns: WorkspaceGpuType,
  problems: ["gpu_type_limit"],
});
export const deleteGpuType = route({
  id: "deleteGpuType",
  tag,
  method: "delete",
  path: "/v1/gpu-types/{gpu_type}",
  summary: "Take back what the workspace has set: a shipped type is as shipped again, an own one is gone",
  scope: "admin",
  params: GpuTypeParams,
  status: 204,
  problems: ["gpu_type_not_found", "gpu_type_in_use"],
});
