import * as z from "zod";
import { PageQuery, page } from "#contract/api/page";
import { route } from "#contract/api/route";
import { Slug } from "#contract/endpoint";
import { EndpointId } from "#contract/ids";
import { UsageRow } from "#contract/usage";

export const listUsage = route({
  id: "listUsage",
  tag: "Usage",
  method: "get",
  path: "/v1/usage",
  summary: "What GPUs did: one row for each attempt that has ended",
  description: "Ordered by endpoint, then by job. Rows are kept as long as their job's record.",
  scope: "read",
  query: PageQuery.extend({
    endpoint: z.union([EndpointId, Slug]).optional(),
    since: z.iso.datetime({ offset: true }).optional().meta({ description: "Jobs made at or after this" }),
    until: z.iso.datetime({ offset: true }).optional().meta({ description: "Jobs made before this" }),
  }),
  status: 200,
  returns: page(UsageRow),
  problems: ["invalid_cursor", "endpoint_not_found"],
});
