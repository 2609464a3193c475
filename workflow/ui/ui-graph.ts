/**
 * The editor's format as values: nodes with slots, links between slots. Reading (schema 0.4 and 1.0), expanding (group
 * nodes, subgraphs) and converting (to API format) meet here.
 */
import type { Json, JsonObject } from "#contract/exact-json";

/** LiteGraph's modes that matter: a muted node does not run, a bypassed one hands its inputs on. */
export const MODE = { always: 0, muted: 2, bypassed: 4 } as const;

export interface UiInput {
  readonly name: string;
  readonly type: string;
  /** Id of the link that ends here. */
  readonly link: string | null;
  /** The widget this slot was made of ("converted widget"), or belongs to; null for a connection alone. */
  readonly widget: string | null;
  readonly label: string | null;
  /** Inside an expanded shell, what the outside gives to a slot to which no node is linked. */
  readonly outside?: OutsideValue;
}

/** A value that was typed into a shell, or the widget inside, of this node or another, whose value it shows. */
export type OutsideValue =
  | { readonly type: "value"; readonly value: Json }
  | { readonly type: "widget"; readonly node: string; readonly field: string };

export interface UiOutput {
  readonly name: string;
  readonly type: string;
}

export interface UiNode {
  /** `"7"`; inside an expanded node `"12:7"`, nested `"3:12:7"`. */
  readonly id: string;
  readonly type: string;
  readonly mode: number;
  /** Place in the order of execution as the editor had it; expanded nodes take their shell's. */
  readonly order: number;
  readonly title: string | null;
  readonly inputs: readonly UiInput[];
  readonly outputs: readonly UiOutput[];
  /** By position, or by name where a node stores an object; null: none. */
  readonly widgets: readonly Json[] | JsonObject | null;
  /** `widgets_values_named` of newer editors. */
  readonly namedWidgets: JsonObject | null;
  /** Values that stand above the node's own: set on the shell it was expanded from, by widget name. */
  readonly overrides: JsonObject | null;
  readonly properties: JsonObject;
}

export interface UiLink {
  readonly id: string;
  readonly from: string;
  readonly fromSlot: number;
  readonly to: string;
  readonly toSlot: number;
  readonly type: string;
}

/** One level of nodes and links. */
export interface UiGraph {
  readonly nodes: ReadonlyMap<string, UiNode>;
  readonly links: ReadonlyMap<string, UiLink>;
}

/** A widget that the author brought to the outside of a subgraph or group node: a strong sign that callers set it. */
export interface PromotedWidget {
  /** The inner node after expansion, and its widget. */
  readonly node: string;
  readonly field: string;
  /** What the outside calls it. */
  readonly name: string;
  readonly title: string | null;
}

/** A document without shells: every node is one that ComfyUI, or the editor alone, knows by its class. */
export interface ExpandedUi {
  readonly graph: UiGraph;
  readonly promoted: readonly PromotedWidget[];
  /** `extra` of the document: linearData (App mode), node_versions, frontendVersion. */
  readonly extra: JsonObject;
}
