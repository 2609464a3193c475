/** The node classes of one ComfyUI process, asked once each: they change only with a restart. */
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import type { ComfyHttp } from "./comfy-http.ts";

export class NodeClasses {
  readonly #http: ComfyHttp;
  /** null: the server has no such class. */
  readonly #known = new Map<string, JsonObject | null>();

  constructor(http: ComfyHttp) {
    this.#http = http;
  }

  /** Which of these the server lacks. */
  async missing(names: readonly string[], signal: AbortSignal): Promise<string[]> {
    const missing: string[] = [];
    for (const name of names) if ((await this.#info(name, signal)) === null) missing.push(name);
    return missing;
  }

  /**
   * The prefix that nodes of a class save under when the graph does not say one.
   * @returns null when the class takes none
   */
  async defaultPrefix(name: string, signal: AbortSignal): Promise<string | null> {
    const input = (await this.#info(name, signal))?.input;
    if (!isJsonObject(input)) return null;
    for (const section of [input.required, input.optional]) {
      const spec: Json | undefined = isJsonObject(section) ? section.filename_prefix : undefined;
      if (!Array.isArray(spec) || spec[0] !== "STRING") continue;
      const preset = isJsonObject(spec[1]) ? spec[1].default : undefined;
      return typeof preset === "string" ? preset : "ComfyUI";
    }
    return null;
  }

  /** Whether nodes of a class call somebody's paid service. */
  async isPaid(name: string, signal: AbortSignal): Promise<boolean> {
    return (await this.#info(name, signal))?.api_node === true;
  }

  async #info(name: string, signal: AbortSignal): Promise<JsonObject | null> {
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    const info = await this.#http.classInfo(name, signal);
    this.#known.set(name, info);
    return info;
  }
}

/**
 * Gives every output node that saves under a prefix one of its own, also where the graph leaves it to the class:
 * otherwise its files would lie among other jobs'.
 * @param graph is changed
 */
export async function stateDefaultPrefixes(
  graph: JsonObject,
  nodes: readonly string[],
  classes: NodeClasses,
  signal: AbortSignal,
): Promise<void> {
  for (const id of nodes) {
    const node = Object.hasOwn(graph, id) ? graph[id] : undefined;
    if (!isJsonObject(node) || !isJsonObject(node.inputs) || typeof node.class_type !== "string") continue;
    if ("filename_prefix" in node.inputs) continue;
    const prefix = await classes.defaultPrefix(node.class_type, signal);
    if (prefix !== null) node.inputs.filename_prefix = prefix;
  }
}
