import type { Scope } from "#contract/access";
import type { KeyId, WorkspaceId } from "#contract/ids";
import { Problem } from "#contract/problems";

/** Who calls the public API. */
export interface Principal {
  readonly workspaceId: WorkspaceId;
  readonly workspace: string;
  readonly keyId: KeyId;
  readonly scopes: readonly Scope[];
}

/** @throws Problem missing_scope when the key has neither the scope nor admin */
export function requireScope(principal: Principal, scope: Scope): void {
  if (principal.scopes.includes(scope) || principal.scopes.includes("admin")) return;
  throw new Problem("missing_scope", `This call needs a key with the scope "${scope}".`);
}
