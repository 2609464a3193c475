/** What programs may see of the agent's environment: while a build is made, and while jobs run in it. Pure. */
import { childEnvironment } from "../comfy/host-process.ts";

/** Tokens of the machine's owner: the agent's own downloads use them, the code of a build does not get them. */
const SECRET_NAME = /TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_KEY|PRIVATE_KEY/i;
/** They would mix another Python, or another repository, into the build. */
const FOREIGN_NAME = /^(?:PYTHON(?!UNBUFFERED$|UTF8$|IOENCODING$)|VIRTUAL_ENV|CONDA_|UV_|GIT_)/;
const PROXY_NAME = /^(?:https?|all|ftp|no)_proxy$/i;

/**
 * For git, pip and uv. Proxies stay, and with them the owner's choice of a package index by environment
 * (PIP_INDEX_URL, UV_INDEX_URL): both are ways to the network and not contents.
 */
export function installEnvironment(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return without(environment, (name) => {
    if (name === "UV_INDEX_URL" || name === "UV_DEFAULT_INDEX") return false;
    return SECRET_NAME.test(name) || FOREIGN_NAME.test(name);
  });
}

/**
 * For a build's ComfyUI: whatever it needs is there, and a pack that would fetch something at its first job fails at the
 * smoke test, on this machine and before callers come. These are the switches that libraries obey, not a firewall.
 */
export function offlineEnvironment(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const kept = without(
    environment,
    (name) => SECRET_NAME.test(name) || FOREIGN_NAME.test(name) || PROXY_NAME.test(name) || name.startsWith("PIP_"),
  );
  return {
    ...kept,
    HF_HUB_OFFLINE: "1",
    TRANSFORMERS_OFFLINE: "1",
    HF_DATASETS_OFFLINE: "1",
    DIFFUSERS_OFFLINE: "1",
    PIP_NO_INDEX: "1",
    PIP_CONFIG_FILE: "/dev/null",
    UV_OFFLINE: "1",
    GIT_ALLOW_PROTOCOL: "none",
    GIT_TERMINAL_PROMPT: "0",
    PYTHONNOUSERSITE: "1",
  };
}

function without(environment: NodeJS.ProcessEnv, isUnwanted: (name: string) => boolean): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(childEnvironment(environment)).filter(([name]) => !isUnwanted(name)));
}
