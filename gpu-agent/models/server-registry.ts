/** The workspace's models, from the server that the agent works for. */
import { AGENT_PROTOCOL, PROTOCOL_HEADER } from "#contract/agent";
import type { FindInRegistry } from "./model-source.ts";

/**
 * @param url the server's, as the agent was given it
 * @param session the node's credential of the moment, or null before it has joined
 */
export function serverRegistry(url: string, session: () => string | null): FindInRegistry {
  return (sha256) => {
    if (session() === null) return Promise.reject(new Error("the agent has not joined yet"));
    return Promise.resolve({
      url: `${url.replace(/\/+$/, "")}/agent/v1/models/${sha256}`,
      headers: () => {
        const bearer = session();
        return {
          [PROTOCOL_HEADER]: String(AGENT_PROTOCOL),
          ...(bearer === null ? {} : { authorization: `Bearer ${bearer}` }),
        };
      },
    });
  };
}
