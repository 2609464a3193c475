/** `POST /prompt`: the way in. */
import { randomUUID } from "node:crypto";
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import type { Generation } from "./generations.ts";
import { SECRET_EXTRA_DATA } from "./history.ts";
import { json, type Reply, type Request } from "./http-server.ts";
import type { NodeCatalog } from "./node-catalog.ts";
import type { PromptQueue } from "./prompt-queue.ts";
import { PythonError, pythonBool, pythonFloat, pythonStr, pythonTypeName } from "./python-values.ts";
import { validatePrompt } from "./validation.ts";

const CANONICAL_UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export function isCanonicalUuid(value: Json): value is string {
  return typeof value === "string" && CANONICAL_UUID.test(value);
}

export class PromptSubmission {
  readonly #queue: PromptQueue;
  readonly #catalog: NodeCatalog;
  readonly #generation: Generation;
  /** Counts submissions without a number of their own, refused ones too. */
  #counter = 0;

  constructor(queue: PromptQueue, catalog: NodeCatalog, generation: Generation) {
    this.#queue = queue;
    this.#catalog = catalog;
    this.#generation = generation;
  }

  async submit(request: Request): Promise<Reply> {
    const body = await request.json();
    if (body === null || (typeof body !== "object" && typeof body !== "string")) {
      throw new PythonError("TypeError", `argument of type '${pythonTypeName(body)}' is not iterable`);
    }
    const fields = isJsonObject(body) ? body : {};
    if (!isJsonObject(body) && (body.includes("number") || body.includes("prompt"))) {
      throw new PythonError("TypeError", `${pythonTypeName(body)} indices must be integers, not 'str'`);
    }
    const number = this.#number(fields);
    if (!("prompt" in fields)) {
      return refusal("no_prompt", "No prompt provided", "No prompt provided");
    }
    const promptId = this.#promptId(fields);
    if (promptId === undefined) {
      const form = "prompt_id must be a UUID string in canonical lowercase hyphenated form";
      const details = `${form}; omit it to let the server generate one`;
      return refusal("invalid_prompt_id", "prompt_id must be a valid UUID", details);
    }
    const prompt = fields.prompt ?? null;
    if (this.#generation.readsNodesFirst) requireReadable(prompt);
    const validation = await validatePrompt(prompt, fields.partial_execution_targets, this.#catalog, this.#generation);
    const extraData = this.#extraData(fields);
    if (!validation.ok) return json({ error: validation.error, node_errors: validation.nodeErrors }, 400);
    this.#stamp(extraData);
    this.#queue.put({
      number,
      promptId,
      prompt: isJsonObject(prompt) ? prompt : {},
      extraData,
      outputs: validation.outputs,
    });
    return json({ prompt_id: promptId, number, node_errors: validation.nodeErrors });
  }

  #number(fields: JsonObject): number {
    if ("number" in fields) return pythonFloat(fields.number ?? null);
    const number = pythonBool(fields.front ?? null) ? -this.#counter : this.#counter;
    this.#counter += 1;
    return number;
  }

  /** Undefined for an id that newer servers refuse. Older ones make a text of anything, `null` included. */
  #promptId(fields: JsonObject): string | undefined {
    const given = fields.prompt_id;
    if (!this.#generation.uuidPromptIds) return given === undefined ? randomUUID() : pythonStr(given);
    if (given === undefined || given === null) return randomUUID();
    return isCanonicalUuid(given) ? given : undefined;
  }

  #extraData(fields: JsonObject): Json {
    const given = "extra_data" in fields ? (fields.extra_data ?? null) : {};
    const isBroken = !isJsonObject(given);
    if (isBroken && (this.#generation.stampsExtraData || "client_id" in fields)) {
      throw new PythonError("TypeError", `'${pythonTypeName(given)}' object does not support item assignment`);
    }
    if (isJsonObject(given) && "client_id" in fields) given.client_id = fields.client_id ?? null;
    return given;
  }

  #stamp(extraData: Json): void {
    if (!this.#generation.stampsExtraData || !isJsonObject(extraData)) return;
    for (const name of SECRET_EXTRA_DATA) delete extraData[name];
    extraData.create_time = Date.now();
  }
}

/** Newer servers look through all inputs for classes that were replaced, whatever else is wrong with them. */
function requireReadable(prompt: Json): void {
  if (!isJsonObject(prompt)) throw noAttribute(prompt, "items");
  for (const node of Object.values(prompt)) {
    if (isJsonObject(node) && "class_type" in node && "inputs" in node && !isJsonObject(node.inputs)) {
      throw noAttribute(node.inputs ?? null, "items");
    }
  }
}

function noAttribute(value: Json, name: string): PythonError {
  return new PythonError("AttributeError", `'${pythonTypeName(value)}' object has no attribute '${name}'`);
}

function refusal(type: string, message: string, details: string): Reply {
  return json({ error: { type, message, details, extra_info: {} }, node_errors: {} }, 400);
}
