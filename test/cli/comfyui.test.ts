import { describe, expect, it } from "vitest";
import { agentArguments, chooseComfyUi, describeComfyUi, isStandIn } from "#cli/local/comfyui";

/** Answers /system_stats at one address alone. */
const comfyAt =
  (url: string, system: Record<string, unknown>): typeof fetch =>
  async (input) => {
    if (String(input) !== `${url}/system_stats`) throw new TypeError("fetch failed");
    return Response.json({ system, devices: [] });
  };
const nobody: typeof fetch = async () => {
  throw new TypeError("fetch failed");
};

describe("what drives the jobs", () => {
  it("is the stand-in when there is no ComfyUI, and is called that", async () => {
    const choice = await chooseComfyUi({}, nobody);
    expect(choice).toEqual({ kind: "stand-in" });
    expect(agentArguments(choice)).toEqual(["--stand-in"]);
    expect(describeComfyUi(choice)).toContain("placeholder");
  });

  it("is a ComfyUI that runs at its usual address", async () => {
    const choice = await chooseComfyUi({}, comfyAt("http://127.0.0.1:8188", { comfyui_version: "0.3.64" }));
    expect(agentArguments(choice)).toEqual(["--comfyui-url", "http://127.0.0.1:8188"]);
    expect(describeComfyUi(choice)).toBe("ComfyUI 0.3.64 at http://127.0.0.1:8188 runs the jobs.");
    expect(isStandIn(choice)).toBe(false);
  });

  it("is what COMFYUI_DIR and COMFYUI_URL name, in this order", async () => {
    const both = { COMFYUI_DIR: "/opt/ComfyUI", COMFYUI_URL: "http://gpu:8188/" };
    expect(agentArguments(await chooseComfyUi(both, nobody))).toEqual(["--comfyui-dir", "/opt/ComfyUI"]);
    const choice = await chooseComfyUi({ COMFYUI_URL: "http://gpu:8188/" }, nobody);
    expect(choice).toEqual({ kind: "url", url: "http://gpu:8188/", found: null });
    expect(describeComfyUi(choice)).toContain("does not answer yet");
  });

  it("is made by the agent where COMFYUI_BUILDS says so, whatever else runs here", async () => {
    const choice = await chooseComfyUi({ COMFYUI_BUILDS: "1", COMFYUI_DIR: "/opt/ComfyUI" }, nobody);
    expect(agentArguments(choice)).toEqual(["--builds"]);
    expect(describeComfyUi(choice)).toContain("each release");
    expect(isStandIn(choice)).toBe(false);
  });

  it("may be several: the first address of the list is asked", async () => {
    const urls = "http://gpu:8188, http://gpu:8189";
    const choice = await chooseComfyUi(
      { COMFYUI_URL: urls },
      comfyAt("http://gpu:8188", { comfyui_version: "0.3.64" }),
    );
    expect(choice).toEqual({ kind: "url", url: urls, found: { version: "0.3.64", isStandIn: false } });
    expect(agentArguments(choice)).toEqual(["--comfyui-url", urls]);
  });

  it("is never taken for a real one when it says that it is a stand-in", async () => {
    const system = { comfyui_version: "0.3.64", pilotlight_stand_in: true };
    const choice = await chooseComfyUi({}, comfyAt("http://127.0.0.1:8188", system));
    expect(isStandIn(choice)).toBe(true);
    expect(describeComfyUi(choice)).toContain("stand-in");
  });

  it("is no other program that answers at that address", async () => {
    const other: typeof fetch = async () => Response.json({ hello: "world" });
    expect(await chooseComfyUi({}, other)).toEqual({ kind: "stand-in" });
  });

  it("can be chosen by COMFYUI_STAND_IN alone", async () => {
    const choice = await chooseComfyUi({ COMFYUI_STAND_IN: "1", COMFYUI_URL: "http://gpu:8188" }, nobody);
    expect(choice).toEqual({ kind: "stand-in" });
  });
});
