/**
 * The two generations of ComfyUI a fleet meets, as the differences an agent can observe.
 * Everything not listed here is the same in both.
 */
export type GenerationName = "0.3.64" | "newer";

export interface Generation {
  readonly name: GenerationName;
  /** `system.comfyui_version`. */
  readonly version: string;
  /** `system.os`: Python's os.name, later sys.platform. */
  readonly os: string;
  /** A client's prompt_id must be a canonical UUID; before, any JSON value was turned into text. */
  readonly uuidPromptIds: boolean;
  /** An unknown class is `missing_node_type` with its id, class and title; before, `invalid_prompt`. */
  readonly namesMissingNode: boolean;
  /** `["COMBO", {options}]` is checked like `[[options]]`, and the refused value is shown with its quotes escaped. */
  readonly checksComboObjects: boolean;
  /** A cycle is reported as `dependency_cycle` on its nodes; before, as a refusal without any reason. */
  readonly reportsCycles: boolean;
  /** `GET /api/jobs` and cancel by id. */
  readonly jobsApi: boolean;
  /** The server writes `extra_data.create_time` and keeps secrets out of the queue listing. */
  readonly stampsExtraData: boolean;
  /** The history has what this run showed; before, whatever was cached for the prompt's nodes. */
  readonly historyFromRun: boolean;
  /** `extra_data.preview_method` overrides --preview-method. */
  readonly previewMethodPerPrompt: boolean;
  /** What is cached when no --cache flag is given. */
  readonly defaultCache: "classic" | "memory";
  /** `GET /object_info` has a few more fields per class. */
  readonly describesMore: boolean;
  /** More folders of models are known. */
  readonly hasMoreModelFolders: boolean;
  /** Every node is read before validation, for replaced classes: inputs that are no object are a 500. */
  readonly readsNodesFirst: boolean;
  /** Scripts and SVG are always sent as attachments. */
  readonly forcesDownloads: boolean;
}

export const GENERATIONS: Readonly<Record<GenerationName, Generation>> = {
  "0.3.64": {
    name: "0.3.64",
    version: "0.3.64",
    os: "posix",
    uuidPromptIds: false,
    namesMissingNode: false,
    checksComboObjects: false,
    reportsCycles: false,
    jobsApi: false,
    stampsExtraData: false,
    historyFromRun: false,
    previewMethodPerPrompt: false,
    defaultCache: "classic",
    describesMore: false,
    hasMoreModelFolders: false,
    readsNodesFirst: false,
    forcesDownloads: false,
  },
  newer: {
    name: "newer",
    version: "0.33.0",
    os: "linux",
    uuidPromptIds: true,
    namesMissingNode: true,
    checksComboObjects: true,
    reportsCycles: true,
    jobsApi: true,
    stampsExtraData: true,
    historyFromRun: true,
    previewMethodPerPrompt: true,
    defaultCache: "memory",
    describesMore: true,
    hasMoreModelFolders: true,
    readsNodesFirst: true,
    forcesDownloads: true,
  },
};
