import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Command } from "#cli/command";
import { makeToken, tokenOptionHelp, tokenOptions } from "#cli/commands/pods";
import { CliError } from "#cli/errors";
import { agentArguments, chooseComfyUi, describeComfyUi } from "#cli/local/comfyui";
import { Region } from "#contract/region";

const AGENT_PROGRAM = fileURLToPath(new URL("../../gpu-agent/main.ts", import.meta.url));
const END_WITH_PARENT = new URL("../local/end-with-parent.ts", import.meta.url).href;

export const nodeJoin: Command = {
  path: ["node", "join"],
  summary: "Make this machine a node: run the GPU agent here until Ctrl-C",
  examples: [
    "pilotlight node join --url https://pilotlight.example.com --join-token plj_…",
    "pilotlight node join --url https://pilotlight.example.com --join-token plj_… --region eu-west",
    "COMFYUI_DIR=/opt/ComfyUI pilotlight node join --url https://pilotlight.example.com --join-token -",
  ],
  positionals: [],
  options: {
    "join-token": { type: "string" },
    name: { type: "string" },
    region: { type: "string" },
    "state-directory": { type: "string" },
    slots: { type: "string" },
    "slots-per-gpu": { type: "string" },
    builds: { type: "boolean" },
    "stand-in": { type: "boolean" },
  },
  optionHelp: {
    "join-token": "from `pilotlight node token`; - reads it from standard input",
    name: "how the node is called; the host's name when left out",
    region: "where this machine is, as in an endpoint's regions (PILOTLIGHT_REGION): eu-west, home",
    "state-directory": "where the agent keeps its session and working files",
    slots: "jobs at a time; one per GPU when left out",
    "slots-per-gpu": "replicas that share each card and its memory; one when left out",
    builds: "make what each release asks for, instead of using a ComfyUI of this machine",
    "stand-in": "the CPU stand-in, although a ComfyUI may be here",
  },
  forPeople: true,
  run: async (call) => {
    const url = call.text("url") ?? call.env.PILOTLIGHT_API_URL;
    if (url === undefined) throw new CliError("usage", "--url is missing: the address of the server to join");
    const region = call.text("region") ?? call.env.PILOTLIGHT_REGION;
    const named = region === undefined || region === "" ? null : Region.safeParse(region);
    if (named?.success === false)
      throw new CliError("usage", `--region: ${named.error.issues[0]?.message ?? "not valid"}`);
    // `--token plj_…` reads naturally here too; a join token is no API key.
    const given = call.text("join-token") ?? call.text("token") ?? call.env.PILOTLIGHT_JOIN_TOKEN;
    const token = given === "-" ? new TextDecoder().decode(await call.readStdin()).trim() : given;
    const asked = (["stand-in", "builds"] as const).find((kind) => call.flag(kind));
    const choice = asked === undefined ? await chooseComfyUi(call.env) : ({ kind: asked } as const);
    call.output.note(describeComfyUi(choice));
    const option = (name: string): string[] => {
      const value = call.text(name);
      return value === undefined ? [] : [`--${name}`, value];
    };
    const { COMFYUI_DIR: _, COMFYUI_URL: __, COMFYUI_STAND_IN: ___, COMFYUI_BUILDS: ____, ...env } = call.env;
    const child = spawn(
      process.execPath,
      [
        ...["--disable-warning=ExperimentalWarning", "--import", END_WITH_PARENT, AGENT_PROGRAM],
        ...["--url", url, ...agentArguments(choice)],
        ...[...option("name"), ...option("region"), ...option("state-directory")],
        ...[...option("slots"), ...option("slots-per-gpu")],
      ],
      {
        env: { ...env, ...(token === undefined ? {} : { PILOTLIGHT_JOIN_TOKEN: token }) },
        // The channel tells the agent of our end, even by a kill -9: nothing is left running.
        stdio: ["ignore", "inherit", "inherit", "ipc"],
        // In a group of its own, so that a Ctrl-C reaches it once, through us.
        detached: true,
      },
    );
    // The agent drains at the first one; at the second it gives its jobs back, stops ComfyUI and leaves.
    for (const signal of [call.interrupts.signal, call.interrupts.force]) {
      signal.addEventListener("abort", () => child.kill("SIGTERM"), { once: true });
    }
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", resolve);
    });
    if (code === 0 || call.interrupts.signal.aborted) return { data: { stopped: true } };
    throw new CliError("agent_failed", `The agent ended with exit code ${code}`);
  },
};

export const nodeToken: Command = {
  path: ["node", "token"],
  summary: "Make a join token for another machine; it is shown once",
  examples: ["pilotlight node token --uses 1"],
  positionals: [],
  options: { pod: { type: "string" }, ...tokenOptions },
  optionHelp: { pod: "which pod, by id or name; the first when left out", ...tokenOptionHelp },
  run: (call) => makeToken(call, call.text("pod")),
};
