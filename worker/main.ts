import { createApp } from "#worker/app";

export { EndpointObject } from "#durable-objects/endpoint/endpoint-object";
export { PodObject } from "#durable-objects/pod/pod-object";

export default createApp();
