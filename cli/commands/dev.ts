import type { Command } from "#cli/command";
import { CliError } from "#cli/errors";
import { chooseComfyUi, describeComfyUi } from "#cli/local/comfyui";
import { AlreadyRunning, type LocalStack, startStack } from "#cli/local/stack";
import { stateFolderAt, stateRootOf } from "#cli/local/state-folder";
import { nodeOnline } from "#cli/node-online";

export const dev: Command = {
  path: ["dev"],
  summary: "Run the whole system on this machine: server and GPU agent, until Ctrl-C",
  examples: ["npm start", "pilotlight dev --port 9000", "COMFYUI_URL=http://127.0.0.1:8188 pilotlight dev"],
  positionals: [],
  options: { port: { type: "string" }, "no-agent": { type: "boolean" }, "no-loopback-urls": { type: "boolean" } },
  optionHelp: {
    port: "PILOTLIGHT_PORT, or 8787; the next free one when it is taken",
    "no-agent": "the server alone; nodes join from elsewhere",
    "no-loopback-urls": "refuse URLs that point at this machine, as a deployed server does",
  },
  forPeople: true,
  run: async (call) => {
    const state = stateFolderAt(stateRootOf(call.env));
    const { signal, force } = call.interrupts;
    const port = call.integer("port", 0, 65_535);
    const allowLoopbackUrls = !call.flag("no-loopback-urls");
    call.output.progress("starting the server …", "server");
    let stack: LocalStack;
    try {
      stack = await startStack({
        state,
        ...(port === undefined ? {} : { port }),
        allowLoopbackUrls,
        report: (line) => call.output.note(line),
        signal,
      });
    } catch (error) {
      if (error instanceof AlreadyRunning) throw new CliError("server_running", error.message);
      throw error;
    }
    force.addEventListener("abort", () => stack.kill(), { once: true });
    try {
      const { client, url, credentials, isFirstStart } = stack;
      const withAgent = !call.flag("no-agent");
      const choice = await chooseComfyUi(call.env);
      if (withAgent) {
        call.output.progress("starting the agent …", "agent");
        await stack.startAgent(choice);
        await nodeOnline(client, credentials.pod_id, signal);
      }
      const say = (line: string) => call.output.say(line);
      say("Pilotlight is lit.");
      say("");
      say(`  API        ${url}`);
      say(`  Reference  ${url}/docs  (OpenAPI: ${url}/openapi.json)`);
      say(
        `  Key        ${isFirstStart ? `${credentials.key}  (shown once)` : "made earlier"}; kept in ${state.credentials}`,
      );
      say(`  State      ${state.root}  (logs: server.log, agent.log)`);
      say(
        `  Jobs       ${withAgent ? describeComfyUi(choice) : "No agent here; `pilotlight node token` lets machines join."}`,
      );
      say("");
      say("It listens on this machine alone.");
      say(
        allowLoopbackUrls
          ? "URLs to this machine are allowed: development setting, turned off by --no-loopback-urls."
          : "URLs to this machine are refused, as on a deployed server.",
      );
      say("");
      say("Next, in a second terminal:");
      // There the commands must find this server and its key too.
      if ((call.env.PILOTLIGHT_STATE_DIR ?? "") !== "") say(`  export PILOTLIGHT_STATE_DIR='${state.root}'`);
      say("  npm run pilotlight -- deploy examples/text-to-image.json");
      say('  npm run pilotlight -- run text-to-image -i prompt="a fox in the snow" -o out');
      say("");
      say("Ctrl-C stops everything.");
      call.output.event({ event: "ready", url, state: state.root, comfyui: choice });
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        signal.addEventListener("abort", () => resolve(), { once: true });
      });
      call.output.note("Stopping …");
      return { data: { stopped: true } };
    } finally {
      await stack.stop();
    }
  },
};
