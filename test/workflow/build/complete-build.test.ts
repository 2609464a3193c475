import { describe, expect, it } from "vitest";
import { completeBuild } from "#workflow/build/complete-build";
import { type BuildDraft, EMPTY_DRAFT } from "#workflow/build/draft";
import { mergeDrafts } from "#workflow/build/merge-drafts";
import { draftOfWorkflow } from "#workflow/build/workflow-facts";
import type { ModelUse } from "#workflow/find-models";
import { BUILD, COMMIT } from "./builds.ts";

function places(draft: BuildDraft): string[] {
  const complete = completeBuild(draft);
  return complete.ok ? [] : complete.errors.map(({ path }) => path);
}
const named = (name: string, draft: Partial<BuildDraft>) =>
  ({ ok: true, name, warnings: [], draft: { ...EMPTY_DRAFT, ...draft } }) as const;

describe("a draft becomes a build", () => {
  it("when nothing is missing", () => {
    expect(completeBuild(BUILD)).toEqual({ ok: true, manifest: BUILD, warnings: [] });
  });

  it("never while anything is, and every such thing is listed", () => {
    expect(places(EMPTY_DRAFT).sort()).toEqual([
      ...["/baseComfyVersion", "/comfyCommit", "/comfyRepository", "/environment/arch", "/environment/os"],
      ...["/environment/pythonVersion", "/pipDependencies"],
    ]);
    const [model] = BUILD.models;
    if (model === undefined) throw new Error("the build has no model");
    const models = [
      { ...model, type: null },
      { ...model, type: "../x" },
      { ...model, filename: "../../etc/passwd" },
      { ...model, filename: "b", sha256: "xyz" },
      { ...model, filename: "c", sources: ["http://example.com/c"] },
      model,
      model,
    ];
    expect(places({ ...BUILD, models })).toEqual([
      ...["/models/0/type", "/models/1/type", "/models/2/filename", "/models/3/sha256", "/models/4/sources/0"],
    ]);
    expect(places({ ...BUILD, models: [model, model] })).toEqual(["/models/1/filename"]);
    const nodes = [
      { name: "..", repository: "https://example.com/x", gitRef: COMMIT },
      { name: "b", repository: "/home/me/b", gitRef: COMMIT },
      { name: "c", repository: "https://example.com/c", gitRef: "A".repeat(40) },
      { name: "d", id: "d e", registryVersion: null },
    ];
    expect(places({ ...BUILD, customNodes: nodes })).toEqual([
      ...["/customNodes/0/name", "/customNodes/1/repository", "/customNodes/2/gitRef", "/customNodes/3/id"],
      "/customNodes/3/registryVersion",
    ]);
    expect(places({ ...BUILD, environment: { ...BUILD.environment, pythonVersion: "2.7" } })).toEqual([
      "/environment/pythonVersion",
    ]);
    expect(places({ ...BUILD, pipDependencies: ["numpy", "pack @ git+https://example.com/p.git@main"] })).toEqual([
      ...["/pipDependencies/0", "/pipDependencies/1"],
    ]);
  });

  it("saying what it took for granted", () => {
    const models = BUILD.models.map((model) => ({ ...model, sources: [] }));
    const pipDependencies = ["torch==2.7.0+cu128", "local @ file:///home/me/local.whl"];
    const complete = completeBuild({ ...BUILD, models, pipDependencies, launch: null });
    expect(complete).toMatchObject({ ok: true, manifest: { launch: { flags: [], cache: "default" } } });
    expect(complete.ok ? complete.warnings.join("\n") : "").toMatch(
      /launch flags[\s\S]*source of local[\s\S]*torch==2\.7\.0\+cu128[\s\S]*SD\/base\.safetensors/,
    );
  });

  it("unless it is too large to be sent", () => {
    const line = (at: number) => `p${at} @ https://example.com/${"x".repeat(1_900)}/${at}.whl`;
    const complete = completeBuild({ ...BUILD, pipDependencies: Array.from({ length: 600 }, (_, at) => line(at)) });
    expect(complete).toMatchObject({ ok: false, detail: expect.stringContaining("1048576 are the most") });
  });
});

describe("several sources of one build", () => {
  const git = { name: "Fancy", repository: "https://example.com/Fancy", gitRef: COMMIT };
  const [model] = BUILD.models;
  if (model === undefined) throw new Error("the build has no model");

  it("fill in what the first leaves open", () => {
    const { draft, warnings } = mergeDrafts([
      named("a", { comfyCommit: COMMIT, models: [{ ...model, type: null, sha256: null, sources: ["civitai:1"] }] }),
      named("b", { baseComfyVersion: "1.0", pipDependencies: ["torch==2.0"], models: [{ ...model, sizeBytes: null }] }),
      named("c", { customNodes: [git] }),
    ]);
    expect(warnings).toEqual([]);
    expect(draft).toMatchObject({
      comfyCommit: COMMIT,
      baseComfyVersion: "1.0",
      environment: { torch: "2.0" },
      customNodes: [git],
      models: [{ ...model, sources: ["civitai:1", ...model.sources] }],
    });
  });

  it("do not overrule one another in silence", () => {
    const other = { ...git, name: "fancy", gitRef: "9".repeat(40) };
    const registered = { name: "plain", id: "plain", registryVersion: "1.0" };
    const { draft, warnings } = mergeDrafts([
      named("a", {
        comfyCommit: COMMIT,
        pipDependencies: ["a==1"],
        customNodes: [git, registered],
        models: [model],
      }),
      named("b", {
        comfyCommit: "9".repeat(40),
        pipDependencies: ["a==2"],
        customNodes: [other, { ...git, name: "plain" }],
        models: [{ ...model, sha256: "b".repeat(64) }],
      }),
    ]);
    expect(draft).toMatchObject({
      comfyCommit: COMMIT,
      pipDependencies: ["a==1"],
      customNodes: [git, registered],
      models: [model],
    });
    expect(warnings).toEqual([
      "b: its Python lock is left out, since another source before it has one.",
      `b: ComfyUI's commit is ${"9".repeat(40)} here; ${COMMIT}, which was said before, is taken.`,
      `b: the commit of Fancy is ${"9".repeat(40)} here; ${COMMIT}, which was said before, is taken.`,
      "b: plain comes from a repository here; from the registry, which was said before, is taken.",
      `b: the sha256 of SD/base.safetensors is ${"b".repeat(64)} here; ${"a".repeat(64)}, which was said before, is taken.`,
    ]);
  });

  it("prefer a pinned pack to one that is only named", () => {
    const loose = { name: "fancy", id: "fancy", registryVersion: null };
    expect(
      mergeDrafts([named("a", { customNodes: [loose] }), named("b", { customNodes: [git] })]).draft.customNodes,
    ).toEqual([git]);
  });
});

describe("a workflow's own facts", () => {
  const use: ModelUse = {
    folder: "checkpoints",
    filename: "SD\\base.safetensors",
    node: "1",
    field: "ckpt_name",
    class: "X",
    url: null,
    hash: null,
  };
  const pack = (id: string, registered: boolean, version: string | null) => ({ id, registered, version });

  it("name packs as far as the editor noted them, and models as the graph does", () => {
    const packages = new Map([
      ["KSampler", pack("comfy-core", true, "0.3.40")],
      ["A", pack("registered", true, "1.2.0")],
      ["B", pack("registered", true, "1.2.0")],
      ["C", pack("nightly", true, "abcdef1234")],
      ["D", pack("owner/loose", false, COMMIT)],
    ]);
    const url = "https://huggingface.co/me/models/resolve/main/x.safetensors";
    const { draft } = draftOfWorkflow({ packages, models: new Map() }, [
      { ...use, url, hash: `sha256:${"a".repeat(64)}` },
      use,
      { ...use, folder: null, filename: "odd.bin", hash: "blake3:00", url: "ftp://x" },
    ]);
    expect(draft).toMatchObject({
      baseComfyVersion: "0.3.40",
      comfyCommit: null,
      customNodes: [
        { name: "registered", id: "registered", registryVersion: "1.2.0" },
        { name: "nightly", repository: null, gitRef: "abcdef1234" },
        { name: "loose", repository: "https://github.com/owner/loose", gitRef: COMMIT },
      ],
      models: [
        {
          type: "checkpoints",
          filename: "SD/base.safetensors",
          sha256: "a".repeat(64),
          sources: ["hf:me/models@main/x.safetensors"],
        },
        { type: null, filename: "odd.bin", sha256: null, sources: [] },
      ],
    });
    expect(places(draft)).toContain("/customNodes/1/repository");
  });

  it("name the models of the document where there is no graph", () => {
    const models = new Map([["x.safetensors", { url: null, folder: "vae", hash: null }]]);
    const packages = new Map([["KSampler", pack("comfy-core", true, COMMIT)]]);
    const { draft } = draftOfWorkflow({ packages, models }, []);
    expect(draft).toMatchObject({ comfyCommit: COMMIT, models: [{ type: "vae", filename: "x.safetensors" }] });
  });
});
