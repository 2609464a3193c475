/**
 * Ids of webhook messages. A message is named after its event, so that the same event handed over twice is one message.
 * None holds a full stop: the signed text is `id.timestamp.body`, and a full stop in the id would move its borders.
 */
import type { DeliveryId, EndpointId, JobId, WebhookId } from "#contract/ids";

/** Of a numbered event of a job. @param seq the event's number, from 1 */
export function eventMessageId(jobId: JobId, seq: number): string {
  return `msg_${afterPrefix(jobId)}_${seq}`;
}

/** Of a progress message, which has no number among the job's events. @param version grows with every progress */
export function progressMessageId(jobId: JobId, version: number): string {
  return `msg_${afterPrefix(jobId)}_p${version}`;
}

/** Of what came of trying a release. @param at Unix ms */
export function releaseMessageId(endpointId: EndpointId, release: number, at: number): string {
  return `msg_${afterPrefix(endpointId)}_r${release}_${at}`;
}

/** Of a message that somebody asked for to try a webhook out: each one is another. */
export function testMessageId(deliveryId: DeliveryId): string {
  return `msg_test_${afterPrefix(deliveryId)}`;
}

/** Of the news that a webhook was disabled. @param at Unix ms */
export function disabledMessageId(webhookId: WebhookId, at: number): string {
  return `msg_${afterPrefix(webhookId)}_off${at}`;
}

const afterPrefix = (id: string): string => id.slice(id.indexOf("_") + 1);
