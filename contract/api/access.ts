import * as z from "zod";
import { ApiKey, Me, NewApiKey } from "#contract/access";
import { PageQuery, page } from "#contract/api/page";
import { route } from "#contract/api/route";
import { KeyId } from "#contract/ids";

const tag = "Access";

export const getMe = route({
  id: "getMe",
  tag,
  method: "get",
  path: "/v1/me",
  summary: "Who this key is",
  scope: "read",
  status: 200,
  returns: Me,
  problems: [],
});
export const createKey = route({
  id: "createKey",
  tag,
  method: "post",
  path: "/v1/keys",
  summary: "Make an API key; it is shown once",
  scope: "admin",
  body: NewApiKey,
  idempotent: "catalog",
  status: 201,
  returns: ApiKey,
  problems: [],
});
export const listKeys = route({
  id: "listKeys",
  tag,
  method: "get",
  path: "/v1/keys",
  summary: "List API keys",
  scope: "admin",
  query: PageQuery,
  status: 200,
  returns: page(ApiKey),
  problems: ["invalid_cursor"],
});
export const revokeKey = route({
  id: "revokeKey",
  tag,
  method: "delete",
  path: "/v1/keys/{key}",
  summary: "Revoke an API key; it stops working within 60 seconds everywhere",
  scope: "admin",
  params: z.object({ key: KeyId }),
  status: 204,
  problems: ["key_not_found"],
});
export const getHealth = route({
  id: "getHealth",
  tag,
  method: "get",
  path: "/v1/health",
  summary: "Whether the service answers",
  scope: null,
  status: 200,
  returns: z.object({ status: z.literal("ok"), version: z.string() }).meta({ id: "Health" }),
  problems: ["unavailable"],
});
