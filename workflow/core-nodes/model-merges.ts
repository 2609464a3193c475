/** Classes that merge two models of one architecture, with a share for each block of it. */
import type { ObjectInfo } from "../object-info.ts";
import { type ClassRow, extras, share, v1 } from "./builder.ts";

/** One block, or `[name, how many]`: `#` in the name is then the number from 0. */
type Blocks = readonly (string | readonly [name: string, count: number])[];

function merge(blocks: Blocks): ClassRow {
  const names = blocks.flatMap((block) =>
    typeof block === "string"
      ? [block]
      : Array.from({ length: block[1] }, (_, index) => block[0].replace("#", String(index))),
  );
  return {
    category: "advanced/model_merging/model_specific",
    inputs: { model1: "MODEL", model2: "MODEL", ...Object.fromEntries(names.map((name) => [name, share(1)])) },
    outputs: ["MODEL"],
  };
}

const unet = (sides: number, dot: string): Blocks => [
  "time_embed.",
  "label_emb.",
  [`input_blocks.#${dot}`, sides],
  [`middle_block.#${dot}`, 3],
  [`output_blocks.#${dot}`, sides],
  "out.",
];
const sd3 = (joint: number): Blocks => [
  ...["pos_embed.", "x_embedder.", "context_embedder.", "y_embedder.", "t_embedder."],
  ["joint_blocks.#.", joint],
  "final_layer.",
];
const cosmos = (blocks: number): Blocks => [
  ...["pos_embedder.", "extra_pos_embedder.", "x_embedder.", "t_embedder.", "affline_norm."],
  ["blocks.block#.", blocks],
  "final_layer.",
];
const cosmosPredict2 = (blocks: number): Blocks => [
  ...["pos_embedder.", "x_embedder.", "t_embedder.", "t_embedding_norm."],
  ["blocks.#.", blocks],
  "final_layer.",
];

export const modelMerges: ObjectInfo = v1(extras("model_merging_model_specific"), {
  ModelMergeSD1: merge(unet(12, ".")),
  ModelMergeSD2: merge(unet(12, ".")),
  ModelMergeSDXL: merge(unet(9, "")),
  ModelMergeSD3_2B: merge(sd3(24)),
  ModelMergeSD35_Large: merge(sd3(38)),
  ModelMergeAuraflow: merge([
    ...["init_x_linear.", "positional_encoding", "cond_seq_linear.", "register_tokens", "t_embedder."],
    ["double_layers.#.", 4],
    ["single_layers.#.", 32],
    ...["modF.", "final_linear."],
  ]),
  ModelMergeFlux1: merge([
    ...["img_in.", "time_in.", "guidance_in", "vector_in.", "txt_in."],
    ["double_blocks.#.", 19],
    ["single_blocks.#.", 38],
    "final_layer.",
  ]),
  ModelMergeMochiPreview: merge([
    ...["pos_frequencies.", "t_embedder.", "t5_y_embedder.", "t5_yproj."],
    ["blocks.#.", 48],
    "final_layer.",
  ]),
  ModelMergeLTXV: merge([
    ...["patchify_proj.", "adaln_single.", "caption_projection."],
    ["transformer_blocks.#.", 28],
    ...["scale_shift_table", "proj_out."],
  ]),
  ModelMergeCosmos7B: merge(cosmos(28)),
  ModelMergeCosmos14B: merge(cosmos(36)),
  ModelMergeCosmosPredict2_2B: merge(cosmosPredict2(28)),
  ModelMergeCosmosPredict2_14B: merge(cosmosPredict2(36)),
  ModelMergeWAN2_1: merge([
    ...["patch_embedding.", "time_embedding.", "time_projection.", "text_embedding.", "img_emb."],
    ["blocks.#.", 40],
    "head.",
  ]),
  ModelMergeQwenImage: merge([
    ...["pos_embeds.", "img_in.", "txt_norm.", "txt_in.", "time_text_embed."],
    ["transformer_blocks.#.", 60],
    "proj_out.",
  ]),
});
