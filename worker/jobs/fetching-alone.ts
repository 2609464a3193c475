import type { Idempotency } from "#durable-objects/endpoint/rpc";
import type { Principal } from "#worker/auth/principal";
import type { EndpointSummary } from "#worker/catalog/endpoints";
import type { Arrival } from "#worker/http/call";
import { type Alone, aloneUnder } from "#worker/http/idempotent";

/**
 * What goes around the fetching of a submit's files, which may take half a minute: a client that gave up waiting and sends
 * the submit again hears that it still runs. The key itself is kept with the job, in its object.
 * @param operation the route's id: a key means another thing in another operation
 * @returns undefined for a submit without a key: each of these is one of its own
 */
export function fetchingAlone(
  call: Arrival & { readonly principal: Principal },
  operation: string,
  { endpoint }: EndpointSummary,
  idempotency: Idempotency | undefined,
): Alone | undefined {
  if (idempotency === undefined) return undefined;
  const { workspaceId } = call.principal;
  const keyed = { workspaceId, operation: `${operation} ${endpoint.id}`, key: idempotency.key };
  return aloneUnder(call, keyed, idempotency.fingerprint);
}
