/** The product as a subject: its own local server, reached as everybody reaches it. */

import { Connection } from "#bench/load/connection";
import { type FakeNode, joinFakeNode } from "#bench/product/fake-node";
import { graphOf, jobBody, type Queue, type Submitter } from "#bench/subject";
import { type LocalStack, startStack } from "#cli/local/stack";
import { stateFolderAt } from "#cli/local/state-folder";
import type { Lease } from "#contract/agent";

const JOIN_TOKEN_S = 3_600;

/** More than any figure needs. */
const SLOTS = 64;

export interface Product {
  readonly stack: LocalStack;
  readonly folder: string;
  /** The machine on which replicas run; it joins when the first one is asked for. */
  node(): Promise<FakeNode>;
  stop(): Promise<void>;
}

/** Starts the product's server on a fresh state folder. */
export async function startProduct(folder: string, say: (line: string) => void): Promise<Product> {
  const stack = await startStack({
    state: stateFolderAt(folder),
    port: 0,
    report: say,
    signal: new AbortController().signal,
  });
  let node: Promise<FakeNode> | undefined;
  const join = async (): Promise<FakeNode> => {
    const { token } = await stack.client.pods.createJoinToken(stack.credentials.pod_id, { expires_in: JOIN_TOKEN_S });
    if (token === undefined) throw new Error("the server made no join token");
    return await joinFakeNode(stack.url, token, SLOTS);
  };
  return {
    stack,
    folder,
    node: () => {
      node ??= join();
      return node;
    },
    stop: async () => {
      if (node !== undefined) (await node).leave();
      await stack.stop();
    },
  };
}

/**
 * Makes an endpoint that wants so many replicas. None is placed before the fake node joins: a replica that does not poll
 * is soon taken for lost.
 */
export async function productQueue(
  product: Product,
  slug: string,
  replicas: number,
  queueDepthMax?: number,
): Promise<Queue<Lease>> {
  const { client, credentials, url } = product.stack;
  const settings = {
    min_replicas: replicas,
    max_replicas: Math.max(1, replicas),
    ...(queueDepthMax === undefined ? {} : { queue_depth_max: queueDepthMax }),
  };
  const endpoint = await client.endpoints.create({ slug, workflow: graphOf(0), settings });
  return {
    name: "product",
    submitter: () => productSubmitter(url, slug, credentials.key),
    replicas: async (count) => (await product.node()).replicas(endpoint.id, count),
  };
}

async function productSubmitter(url: string, slug: string, key: string): Promise<Submitter> {
  const connection = await Connection.open(url);
  const path = `/v1/endpoints/${slug}/jobs`;
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
  return {
    submit: async (job) => {
      const answer = await connection.send({
        method: "POST",
        path,
        headers: { ...headers, "idempotency-key": `bench-${job}` },
        body: jobBody(job),
      });
      if (answer.status !== 202) throw new Error(`the product answered ${answer.status} ${answer.body.toString()}`);
    },
    close: () => connection.close(),
  };
}
