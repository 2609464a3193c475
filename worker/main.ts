import { createApp } from "#worker/app";

export { EndpointObject } from "#durable-objects/endpoint/endpoint-object";
export { ModelsObject } from "#durable-objects/models/models-object";
export { PodObject } from "#durable-objects/pod/pod-object";
export { WebhooksObject } from "#durable-objects/webhooks/webhooks-object";

export default createApp();
