/** Endpoints that break one promise each on the way of a message: a model that lets one of them pass is blind. */
import type { Lease } from "#contract/agent";
import { JobId, leaseIdOf, leaseNumber, makeId } from "#contract/ids";
import type { EndpointRpc } from "#durable-objects/endpoint/rpc";
import { randomBytes } from "./objects.ts";

type StandIn = (endpoint: EndpointRpc) => EndpointRpc;

/** The endpoint with some of its calls answered by another. */
function instead(change: (endpoint: EndpointRpc) => Partial<EndpointRpc>): StandIn {
  return (endpoint) => {
    const changed = change(endpoint);
    return new Proxy(endpoint, { get: (target, name) => Reflect.get(name in changed ? changed : target, name) });
  };
}

/** The next lease of the same job, as if it had been granted again. */
function secondOf(lease: Lease): Lease {
  const [counter, chance] = lease.token.split(".");
  const token = `${Number(counter) + 1}.${chance}` as Lease["token"];
  return { ...lease, token, lease_id: leaseIdOf(lease.job_id, leaseNumber(lease.lease_id) + 1) };
}

/** What each does wrong, and the words in which the model says so. */
export const WRONG_ENDPOINTS: readonly { readonly does: string; readonly seen: RegExp; readonly standIn: StandIn }[] = [
  {
    does: "gives a job that runs to a second replica",
    seen: /I3: a second lease for a job/,
    standIn: (endpoint) => {
      let last: Lease | null = null;
      return instead(() => ({
        pollReplica: async (node, replicaId, poll) => {
          const reply = await endpoint.pollReplica(node, replicaId, poll);
          if (!reply.ok) return reply;
          const before = last;
          last = reply.answer.lease;
          if (last !== null || before === null || poll.leases.length > 0) return reply;
          const known = await endpoint.getJob(node.workspaceId, before.job_id);
          const lease = known.ok && known.job.state === "running" ? secondOf(before) : null;
          return { ...reply, answer: { ...reply.answer, lease } };
        },
      }))(endpoint);
    },
  },
  {
    does: "accepts a job and has none of that name",
    seen: /I1: other jobs than were accepted/,
    standIn: instead((endpoint) => ({
      enqueue: async (request) => {
        const reply = await endpoint.enqueue(request);
        return reply.ok
          ? { ...reply, job: { ...reply.job, id: makeId(JobId, "job", Date.now(), randomBytes) } }
          : reply;
      },
    })),
  },
  {
    does: "takes no notice of Idempotency-Keys",
    seen: /I2: /,
    standIn: instead((endpoint) => ({
      enqueue: ({ idempotency: _, ...request }) => endpoint.enqueue(request),
    })),
  },
  {
    does: "says canceled whatever the outcome",
    seen: /I8: the cancel's answer/,
    standIn: instead((endpoint) => ({
      cancelJob: async (workspaceId, jobId) => {
        const reply = await endpoint.cancelJob(workspaceId, jobId);
        return reply.ok ? { ...reply, job: { ...reply.job, state: "canceled" } } : reply;
      },
    })),
  },
  {
    does: "refuses an end that is told twice",
    seen: /I13: a repeated end is refused/,
    standIn: (endpoint) => {
      const ended = new Set<string>();
      return instead(() => ({
        complete: async (proof, message, outputs) => {
          const reply = await endpoint.complete(proof, message, outputs);
          if (!reply.ok || !ended.has(proof.leaseId)) {
            if (reply.ok) ended.add(proof.leaseId);
            return reply;
          }
          return { ok: false, code: "lease_lost", detail: "Once is enough." };
        },
      }))(endpoint);
    },
  },
  {
    does: "leaves a job where it is that is to go first",
    seen: /I12: the queue's order/,
    standIn: instead((endpoint) => ({
      patchJob: async (workspaceId, jobId, { position, ...patch }) => {
        const reply = await endpoint.getJob(workspaceId, jobId);
        const isMoved = position !== undefined && reply.ok && reply.job.state === "queued";
        if (!isMoved) return endpoint.patchJob(workspaceId, jobId, position === undefined ? patch : { position });
        return Object.keys(patch).length === 0 ? reply : endpoint.patchJob(workspaceId, jobId, patch);
      },
    })),
  },
];
