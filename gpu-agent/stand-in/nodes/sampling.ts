/** Nodes that sample: they take as many steps as they are asked to, show each, and decide the picture to be drawn. */
import { type NodeContext, NodeError, type NodeImplementation, type NodeInputs } from "../node.ts";
import { type Conditioning, conditioningOf, toConditioning } from "./conditioning-values.ts";
import { flagOf, numberOf, textOf, wholeOf } from "./inputs.ts";
import { type Latent, type Recipe, render, toLatent } from "./latent-values.ts";
import { changeOf, describeModel } from "./simulated-models.ts";

/** The longer side of a preview, as servers limit it. */
const PREVIEW_SIDE_MAX = 512;
/** Pictures shown during one run; with more steps than this, some go without. */
const PREVIEWS_MAX = 50;
/** What a step of a simulated model takes for a picture of one megapixel; small pictures take no time at all. */
const STEP_MS_PER_MEGAPIXEL = 20;

interface SamplerJob {
  readonly latent: Latent;
  readonly recipe: Recipe;
  /** Progress is counted to this. */
  readonly steps: number;
  /** How much is repainted, 0..1. */
  readonly denoise: number;
  /** Noise left in at the end, 0..1. */
  readonly leftover: number;
}

/** Takes the steps and gives the latent. A sampler that has nothing to do gives back what it got. */
async function sample(job: SamplerJob, context: NodeContext): Promise<Latent> {
  const { latent, recipe, steps, denoise } = job;
  if (steps <= 0 || denoise <= 0) return latent;
  const painted = (noise: number): Latent => ({
    ...latent,
    content: {
      type: "painted",
      recipe,
      under: latent.content,
      denoise: Math.min(1, denoise),
      noise,
      ...(latent.noiseMask === undefined ? {} : { mask: latent.noiseMask }),
    },
  });
  const stepMs = Math.round((latent.width * latent.height * STEP_MS_PER_MEGAPIXEL) / 1_000_000);
  const shrink = Math.min(1, PREVIEW_SIDE_MAX / Math.max(latent.width, latent.height)) / 4;
  const width = Math.max(8, Math.round(latent.width * shrink));
  const height = Math.max(8, Math.round(latent.height * shrink));
  for (let step = 1; step <= steps; step += 1) {
    if (stepMs > 0) await context.sleep(stepMs);
    const noise = 1 - (1 - job.leftover) * (step / steps);
    const isShown = latent.seconds === undefined && (step === steps || step % Math.ceil(steps / PREVIEWS_MAX) === 0);
    const preview = isShown ? render(painted(noise), width, height, 0, 1) : undefined;
    await context.progress(step, steps, preview);
  }
  return painted(job.leftover);
}

/** Everything about a job that is neither prompt nor number, as one text. */
function variantOf(model: unknown, negative: Conditioning, positive: Conditioning, ...rest: string[]): string {
  return [describeModel(model), negative.text, ...negative.details, ...positive.details, ...rest].join("|");
}

function recipeOf(
  model: unknown,
  positive: unknown,
  negative: unknown,
  numbers: { seed: bigint; steps: number; cfg: number },
  ...rest: string[]
): Recipe {
  const wanted = toConditioning(positive);
  const unwanted = negative === undefined ? conditioningOf("") : toConditioning(negative);
  return {
    prompt: wanted.text,
    ...numbers,
    variant: variantOf(model, unwanted, wanted, ...rest),
    hints: wanted.hints,
  };
}

const kSampler: NodeImplementation = {
  async run(inputs, context) {
    const steps = numberOf(inputs, "steps");
    const numbers = { seed: wholeOf(inputs, "seed"), steps, cfg: numberOf(inputs, "cfg") };
    const names = [textOf(inputs, "sampler_name"), textOf(inputs, "scheduler")];
    const recipe = recipeOf(inputs.model, inputs.positive, inputs.negative, numbers, ...names);
    const latent = toLatent(inputs.latent_image);
    const denoise = inputs.denoise === undefined ? 1 : numberOf(inputs, "denoise");
    return { outputs: [await sample({ latent, recipe, steps, denoise, leftover: 0 }, context)] };
  },
};

const kSamplerAdvanced: NodeImplementation = {
  async run(inputs, context) {
    const steps = numberOf(inputs, "steps");
    const start = Math.min(steps, numberOf(inputs, "start_at_step"));
    const end = Math.min(steps, numberOf(inputs, "end_at_step"));
    const addsNoise = textOf(inputs, "add_noise") === "enable";
    const numbers = { seed: wholeOf(inputs, "noise_seed"), steps, cfg: numberOf(inputs, "cfg") };
    const names = [textOf(inputs, "sampler_name"), textOf(inputs, "scheduler")];
    const recipe = recipeOf(inputs.model, inputs.positive, inputs.negative, numbers, ...names);
    const latent = toLatent(inputs.latent_image);
    const keepsNoise = textOf(inputs, "return_with_leftover_noise") === "enable";
    const leftover = keepsNoise ? 1 - end / steps : 0;
    // A second stage goes on from the first: it repaints only what the steps it still has can change.
    const denoise = addsNoise && start === 0 ? 1 : 1 - start / steps;
    const job = { latent: withoutNoise(latent), recipe, steps: end - start, denoise, leftover };
    return { outputs: [await sample(job, context)] };
  },
};

/** The picture a half-sampled latent was going to be: the next stage takes its noise away. */
function withoutNoise(latent: Latent): Latent {
  const { content } = latent;
  return content.type === "painted" ? { ...latent, content: { ...content, noise: 0 } } : latent;
}

// ---- custom sampling: noise, guider, sampler and sigmas come as values of their own

interface Noise {
  readonly seed: bigint;
  readonly adds: boolean;
}

interface Guider {
  readonly model: unknown;
  readonly positive: unknown;
  readonly negative: unknown;
  readonly cfg: number;
  readonly style: string;
}

/** Noise levels from high to low; one more than there are steps. */
interface Sigmas {
  readonly levels: readonly number[];
  readonly name: string;
}

function part<T>(value: unknown, key: string): T {
  if (typeof value === "object" && value !== null && key in value) return value as T;
  throw new NodeError("AttributeError", `'NoneType' object has no attribute '${key}'`);
}

/** The level at which everything is noise, for models of the older kind; newer ones start at 1. */
const SIGMA_MAX = 14.614642;
const SIGMA_MIN = 0.0291675;

async function sampleCustom(
  guider: Guider,
  noise: Noise,
  sampler: unknown,
  sigmas: Sigmas,
  latentValue: unknown,
  context: NodeContext,
): Promise<readonly [Latent, Latent]> {
  const latent = withoutNoise(toLatent(latentValue));
  const steps = Math.max(0, sigmas.levels.length - 1);
  const first = sigmas.levels[0] ?? 0;
  const last = sigmas.levels.at(-1) ?? 0;
  const top = first > 1 ? SIGMA_MAX : 1;
  const numbers = { seed: noise.seed, steps: Math.max(1, steps), cfg: guider.cfg };
  const name = part<{ sampler: string }>(sampler, "sampler").sampler;
  const recipe = recipeOf(guider.model, guider.positive, guider.negative, numbers, guider.style, name, sigmas.name);
  const denoise = latent.content.type === "empty" ? 1 : Math.min(1, first / top);
  const done = await sample({ latent, recipe, steps, denoise, leftover: Math.min(1, last / top) }, context);
  return [done, withoutNoise(done)];
}

const samplerCustom: NodeImplementation = {
  async run(inputs, context) {
    const guider = {
      model: inputs.model,
      positive: inputs.positive,
      negative: inputs.negative,
      cfg: numberOf(inputs, "cfg"),
      style: "",
    };
    const noise = { seed: wholeOf(inputs, "noise_seed"), adds: flagOf(inputs, "add_noise", true) };
    const sigmas = part<Sigmas>(inputs.sigmas, "levels");
    return { outputs: await sampleCustom(guider, noise, inputs.sampler, sigmas, inputs.latent_image, context) };
  },
};

const samplerCustomAdvanced: NodeImplementation = {
  async run(inputs, context) {
    const guider = part<Guider>(inputs.guider, "cfg");
    const noise = part<Noise>(inputs.noise, "seed");
    const sigmas = part<Sigmas>(inputs.sigmas, "levels");
    return { outputs: await sampleCustom(guider, noise, inputs.sampler, sigmas, inputs.latent_image, context) };
  },
};

function guiderNode(build: (inputs: NodeInputs) => Omit<Guider, "model" | "style">): NodeImplementation {
  return {
    run: (inputs) => ({ outputs: [{ model: inputs.model, style: changeOf(inputs, ["model"]), ...build(inputs) }] }),
  };
}

/** A scheduler: `level` is given the part of the way, 0 at the first step and 1 at the last before zero. */
function scheduler(level: (way: number, inputs: NodeInputs) => number, endsAtZero = true): NodeImplementation {
  return {
    run(inputs) {
      const denoise = inputs.denoise === undefined ? 1 : numberOf(inputs, "denoise");
      const steps = numberOf(inputs, "steps");
      const name = changeOf(inputs, ["model", "latent"]);
      if (denoise <= 0) return { outputs: [{ levels: [], name }] };
      // Less than everything is repainted by making the ladder longer and taking its lower end.
      const total = Math.max(steps, Math.trunc(steps / denoise));
      const ladder = Array.from({ length: total }, (_, i) => level(total === 1 ? 0 : i / (total - 1), inputs));
      return { outputs: [{ levels: [...ladder.slice(-steps), ...(endsAtZero ? [0] : [])], name }] };
    },
  };
}

const karras = (way: number, max: number, min: number, rho: number): number =>
  (max ** (1 / rho) + way * (min ** (1 / rho) - max ** (1 / rho))) ** rho;
const exponential = (way: number, max: number, min: number): number =>
  Math.exp(Math.log(max) + way * (Math.log(Math.max(min, 1e-6)) - Math.log(max)));
const usual = (way: number): number => karras(way, SIGMA_MAX, SIGMA_MIN, 7);
const flow = (way: number): number => 1 - way * 0.97;
const range = (inputs: NodeInputs) => ({
  max: Math.max(1e-6, numberOf(inputs, "sigma_max")),
  min: Math.max(1e-6, numberOf(inputs, "sigma_min")),
});

/** Parts of a noise ladder. */
function sigmasNode(
  change: (levels: readonly number[], inputs: NodeInputs) => readonly (readonly number[])[],
): NodeImplementation {
  return {
    run(inputs) {
      const { levels, name } = part<Sigmas>(inputs.sigmas, "levels");
      const detail = `${name};${changeOf(inputs, ["sigmas"])}`;
      return { outputs: change(levels, inputs).map((part) => ({ levels: part, name: detail })) };
    },
  };
}

function split(levels: readonly number[], step: number): readonly (readonly number[])[] {
  return [levels.slice(0, step + 1), levels.slice(step)];
}

function extended(levels: readonly number[], inputs: NodeInputs): number[] {
  const between = numberOf(inputs, "steps");
  const start = numberOf(inputs, "start_at_sigma");
  const from = start < 0 ? Number.POSITIVE_INFINITY : start;
  const to = numberOf(inputs, "end_at_sigma");
  const spacing = textOf(inputs, "spacing");
  const ease = (x: number): number => {
    if (spacing === "cosine") return Math.sin((x * Math.PI) / 2);
    return spacing === "sine" ? 1 - Math.cos((x * Math.PI) / 2) : x;
  };
  return levels.flatMap((level, i) => {
    const next = levels[i + 1];
    if (next === undefined || !(to <= level && level <= from)) return [level];
    return Array.from({ length: between }, (_, k) => level + (next - level) * ease(k / between));
  });
}

const samplerNode: NodeImplementation = {
  run: (inputs) => ({ outputs: [{ sampler: changeOf(inputs, ["model"]) }] }),
};

const addNoise: NodeImplementation = {
  run(inputs) {
    const latent = toLatent(inputs.latent_image);
    const { levels } = part<Sigmas>(inputs.sigmas, "levels");
    const first = levels[0] ?? 0;
    if (latent.content.type !== "painted") return { outputs: [latent] };
    const noise = Math.min(1, first / (first > 1 ? SIGMA_MAX : 1));
    return { outputs: [{ ...latent, content: { ...latent.content, noise } }] };
  },
};

const SAMPLERS = [
  "KSamplerSelect",
  "SamplerEulerAncestral",
  "SamplerEulerAncestralCFGPP",
  "SamplerEulerCFGpp",
  "SamplerLMS",
  "SamplerDPMPP_3M_SDE",
  "SamplerDPMPP_2M_SDE",
  "SamplerDPMPP_SDE",
  "SamplerDPMPP_2S_Ancestral",
  "SamplerDPMAdaptative",
  "SamplerER_SDE",
  "SamplerSASolver",
  "SamplerLCMUpscale",
] as const;

export const samplingNodes: Readonly<Record<string, NodeImplementation>> = {
  KSampler: kSampler,
  KSamplerAdvanced: kSamplerAdvanced,
  SamplerCustom: samplerCustom,
  SamplerCustomAdvanced: samplerCustomAdvanced,
  ...Object.fromEntries(SAMPLERS.map((name) => [name, samplerNode])),
  RandomNoise: { run: (inputs) => ({ outputs: [{ seed: wholeOf(inputs, "noise_seed"), adds: true }] }) },
  DisableNoise: { run: () => ({ outputs: [{ seed: 0n, adds: false }] }) },
  AddNoise: addNoise,
  BasicGuider: guiderNode((inputs) => ({ positive: inputs.conditioning, negative: undefined, cfg: 1 })),
  CFGGuider: guiderNode((inputs) => ({
    positive: inputs.positive,
    negative: inputs.negative,
    cfg: numberOf(inputs, "cfg"),
  })),
  PerpNegGuider: guiderNode((inputs) => ({
    positive: inputs.positive,
    negative: inputs.negative,
    cfg: numberOf(inputs, "cfg"),
  })),
  DualCFGGuider: guiderNode((inputs) => ({
    positive: inputs.cond1,
    negative: inputs.negative,
    cfg: numberOf(inputs, "cfg_conds"),
  })),
  BasicScheduler: scheduler(usual),
  BetaSamplingScheduler: scheduler(usual),
  VPScheduler: scheduler(usual),
  SDTurboScheduler: scheduler(usual),
  AlignYourStepsScheduler: scheduler(usual),
  GITSScheduler: scheduler(usual),
  OptimalStepsScheduler: scheduler(flow),
  LTXVScheduler: scheduler(flow),
  KarrasScheduler: scheduler((way, inputs) =>
    karras(way, range(inputs).max, range(inputs).min, Math.max(0.1, numberOf(inputs, "rho"))),
  ),
  ExponentialScheduler: scheduler((way, inputs) => exponential(way, range(inputs).max, range(inputs).min)),
  PolyexponentialScheduler: scheduler((way, inputs) =>
    exponential(way ** Math.max(0.01, numberOf(inputs, "rho")), range(inputs).max, range(inputs).min),
  ),
  LaplaceScheduler: scheduler((way, inputs) => exponential(way, range(inputs).max, range(inputs).min)),
  SplitSigmas: sigmasNode((levels, inputs) => split(levels, numberOf(inputs, "step"))),
  SplitSigmasDenoise: sigmasNode((levels, inputs) => {
    const steps = Math.max(0, levels.length - 1);
    const lower = Math.round(steps * numberOf(inputs, "denoise"));
    return split(levels, steps - lower);
  }),
  FlipSigmas: sigmasNode((levels) => [[...levels].reverse()]),
  SetFirstSigma: sigmasNode((levels, inputs) => [[numberOf(inputs, "sigma"), ...levels.slice(1)]]),
  ExtendIntermediateSigmas: sigmasNode((levels, inputs) => [extended(levels, inputs)]),
};
