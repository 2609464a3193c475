/** Classes that sample: samplers, schedulers, sigmas, guiders, noise. */
import type { ObjectInfo } from "../object-info.ts";
import { bool, CFG, exactFloat, extras, float, int, oneOf, percent, SEED, STEPS, share, v1, v3 } from "./builder.ts";
import { SAMPLER_NAMES, SCHEDULER_NAMES } from "./choices.ts";

const sampler_name = oneOf(SAMPLER_NAMES);
const scheduler = oneOf(SCHEDULER_NAMES);
const PAIR = { positive: "CONDITIONING", negative: "CONDITIONING" } as const;
const HIGH_LOW = { high_sigmas: "SIGMAS", low_sigmas: "SIGMAS" } as const;
const BOTH_OUTPUTS = { output: "LATENT", denoised_output: "LATENT" } as const;
const SCHEDULERS = "sampling/custom_sampling/schedulers";
const SAMPLERS = "sampling/custom_sampling/samplers";
const SIGMAS = "sampling/custom_sampling/sigmas";
const GUIDERS = "sampling/custom_sampling/guiders";
const sigmaRange = {
  sigma_max: exactFloat(14.614642, 0, 5000),
  sigma_min: exactFloat(0.0291675, 0, 5000),
} as const;
const knob = (initial: number) => exactFloat(initial, 0, 100);
const etaAndNoise = { eta: knob(1), s_noise: knob(1) } as const;
const noise_device = oneOf(["gpu", "cpu"]);

export const sampling: ObjectInfo = {
  ...v1("nodes", {
    KSampler: {
      category: "sampling",
      inputs: {
        model: "MODEL",
        seed: SEED,
        steps: STEPS,
        cfg: CFG,
        sampler_name,
        scheduler,
        ...PAIR,
        latent_image: "LATENT",
        denoise: share(1),
      },
      outputs: ["LATENT"],
    },
    KSamplerAdvanced: {
      title: "KSampler (Advanced)",
      category: "sampling",
      inputs: {
        model: "MODEL",
        add_noise: oneOf(["enable", "disable"]),
        noise_seed: SEED,
        steps: STEPS,
        cfg: CFG,
        sampler_name,
        scheduler,
        ...PAIR,
        latent_image: "LATENT",
        start_at_step: int(0, 0, 10000),
        end_at_step: int(10000, 0, 10000),
        return_with_leftover_noise: oneOf(["disable", "enable"]),
      },
      outputs: ["LATENT"],
    },
  }),
  ...v1(extras("custom_sampler"), {
    SamplerCustom: {
      category: "sampling/custom_sampling",
      inputs: {
        model: "MODEL",
        add_noise: bool(true),
        noise_seed: SEED,
        cfg: CFG,
        ...PAIR,
        sampler: "SAMPLER",
        sigmas: "SIGMAS",
        latent_image: "LATENT",
      },
      outputs: BOTH_OUTPUTS,
    },
    SamplerCustomAdvanced: {
      category: "sampling/custom_sampling",
      inputs: { noise: "NOISE", guider: "GUIDER", sampler: "SAMPLER", sigmas: "SIGMAS", latent_image: "LATENT" },
      outputs: BOTH_OUTPUTS,
    },
    BasicScheduler: {
      category: SCHEDULERS,
      inputs: { model: "MODEL", scheduler, steps: STEPS, denoise: share(1) },
      outputs: ["SIGMAS"],
    },
    KarrasScheduler: {
      category: SCHEDULERS,
      inputs: { steps: STEPS, ...sigmaRange, rho: knob(7) },
      outputs: ["SIGMAS"],
    },
    ExponentialScheduler: { category: SCHEDULERS, inputs: { steps: STEPS, ...sigmaRange }, outputs: ["SIGMAS"] },
    PolyexponentialScheduler: {
      category: SCHEDULERS,
      inputs: { steps: STEPS, ...sigmaRange, rho: knob(1) },
      outputs: ["SIGMAS"],
    },
    LaplaceScheduler: {
      category: SCHEDULERS,
      inputs: { steps: STEPS, ...sigmaRange, mu: exactFloat(0, -10, 10, 0.1), beta: exactFloat(0.5, 0, 10, 0.1) },
      outputs: ["SIGMAS"],
    },
    VPScheduler: {
      category: SCHEDULERS,
      inputs: {
        steps: STEPS,
        beta_d: exactFloat(19.9, 0, 5000),
        beta_min: exactFloat(0.1, 0, 5000),
        eps_s: exactFloat(0.001, 0, 1, 0.0001),
      },
      outputs: ["SIGMAS"],
    },
    BetaSamplingScheduler: {
      category: SCHEDULERS,
      inputs: { model: "MODEL", steps: STEPS, alpha: exactFloat(0.6, 0, 50), beta: exactFloat(0.6, 0, 50) },
      outputs: ["SIGMAS"],
    },
    SDTurboScheduler: {
      category: SCHEDULERS,
      inputs: { model: "MODEL", steps: int(1, 1, 10), denoise: share(1) },
      outputs: ["SIGMAS"],
    },
    KSamplerSelect: { category: SAMPLERS, inputs: { sampler_name }, outputs: ["SAMPLER"] },
    SamplerEulerAncestral: { category: SAMPLERS, inputs: etaAndNoise, outputs: ["SAMPLER"] },
    SamplerEulerAncestralCFGPP: {
      title: "SamplerEulerAncestralCFG++",
      category: SAMPLERS,
      inputs: { eta: exactFloat(1, 0, 1), s_noise: exactFloat(1, 0, 10) },
      outputs: ["SAMPLER"],
    },
    SamplerLMS: { category: SAMPLERS, inputs: { order: int(4, 1, 100) }, outputs: ["SAMPLER"] },
    SamplerDPMPP_3M_SDE: { category: SAMPLERS, inputs: { ...etaAndNoise, noise_device }, outputs: ["SAMPLER"] },
    SamplerDPMPP_2M_SDE: {
      category: SAMPLERS,
      inputs: { solver_type: oneOf(["midpoint", "heun"]), ...etaAndNoise, noise_device },
      outputs: ["SAMPLER"],
    },
    SamplerDPMPP_SDE: {
      category: SAMPLERS,
      inputs: { ...etaAndNoise, r: knob(0.5), noise_device },
      outputs: ["SAMPLER"],
    },
    SamplerDPMPP_2S_Ancestral: { category: SAMPLERS, inputs: etaAndNoise, outputs: ["SAMPLER"] },
    SamplerDPMAdaptative: {
      category: SAMPLERS,
      inputs: {
        order: int(3, 2, 3),
        rtol: knob(0.05),
        atol: knob(0.0078),
        h_init: knob(0.05),
        pcoeff: knob(0),
        icoeff: knob(1),
        dcoeff: knob(0),
        accept_safety: knob(0.81),
        eta: knob(0),
        s_noise: knob(1),
      },
      outputs: ["SAMPLER"],
    },
    // A class of the first generation that writes its choice in the notation of the second.
    SamplerER_SDE: {
      category: SAMPLERS,
      inputs: {
        solver_type: { type: "COMBO", options: { options: ["ER-SDE", "Reverse-time SDE", "ODE"] } },
        max_stage: int(3, 1, 3),
        ...etaAndNoise,
      },
      outputs: ["SAMPLER"],
    },
    SamplerSASolver: {
      category: SAMPLERS,
      inputs: {
        model: "MODEL",
        eta: exactFloat(1, 0, 10),
        sde_start_percent: percent(0.2),
        sde_end_percent: percent(0.8),
        s_noise: knob(1),
        predictor_order: int(3, 1, 6),
        corrector_order: int(4, 0, 6),
        use_pece: bool(),
        simple_order_2: bool(),
      },
      outputs: ["SAMPLER"],
    },
    SplitSigmas: { category: SIGMAS, inputs: { sigmas: "SIGMAS", step: int(0, 0, 10000) }, outputs: HIGH_LOW },
    SplitSigmasDenoise: { category: SIGMAS, inputs: { sigmas: "SIGMAS", denoise: share(1) }, outputs: HIGH_LOW },
    FlipSigmas: { category: SIGMAS, inputs: { sigmas: "SIGMAS" }, outputs: ["SIGMAS"] },
    SetFirstSigma: {
      category: SIGMAS,
      inputs: { sigmas: "SIGMAS", sigma: exactFloat(136, 0, 20000, 0.001) },
      outputs: ["SIGMAS"],
    },
    ExtendIntermediateSigmas: {
      category: SIGMAS,
      inputs: {
        sigmas: "SIGMAS",
        steps: int(2, 1, 100),
        start_at_sigma: exactFloat(-1, -1, 20000),
        end_at_sigma: exactFloat(12, 0, 20000),
        spacing: oneOf(["linear", "cosine", "sine"]),
      },
      outputs: ["SIGMAS"],
    },
    SamplingPercentToSigma: {
      category: SIGMAS,
      inputs: { model: "MODEL", sampling_percent: float(0, 0, 1, 0.0001), return_actual_sigma: bool(false) },
      outputs: { sigma_value: "FLOAT" },
    },
    CFGGuider: { category: GUIDERS, inputs: { model: "MODEL", ...PAIR, cfg: CFG }, outputs: ["GUIDER"] },
    DualCFGGuider: {
      category: GUIDERS,
      inputs: {
        model: "MODEL",
        cond1: "CONDITIONING",
        cond2: "CONDITIONING",
        negative: "CONDITIONING",
        cfg_conds: CFG,
        cfg_cond2_negative: CFG,
        style: oneOf(["regular", "nested"]),
      },
      outputs: ["GUIDER"],
    },
    BasicGuider: {
      category: GUIDERS,
      inputs: { model: "MODEL", conditioning: "CONDITIONING" },
      outputs: ["GUIDER"],
    },
    RandomNoise: { category: "sampling/custom_sampling/noise", inputs: { noise_seed: SEED }, outputs: ["NOISE"] },
    DisableNoise: { category: "sampling/custom_sampling/noise", outputs: ["NOISE"] },
    AddNoise: {
      category: "_for_testing/custom_sampling/noise",
      inputs: { model: "MODEL", noise: "NOISE", sigmas: "SIGMAS", latent_image: "LATENT" },
      outputs: ["LATENT"],
    },
  }),
  ...v3("perpneg", {
    PerpNegGuider: {
      category: "_for_testing",
      inputs: {
        model: "MODEL",
        ...PAIR,
        empty_conditioning: "CONDITIONING",
        cfg: CFG,
        neg_scale: float(1, 0, 100, 0.01),
      },
      outputs: ["GUIDER"],
      experimental: true,
    },
  }),
  ...v3("advanced_samplers", {
    SamplerLCMUpscale: {
      category: SAMPLERS,
      inputs: {
        scale_ratio: float(1, 0.1, 20, 0.01),
        scale_steps: int(-1, -1, 1000, 1),
        upscale_method: oneOf(["bislerp", "nearest-exact", "bilinear", "area", "bicubic"]),
      },
      outputs: ["SAMPLER"],
    },
    SamplerEulerCFGpp: {
      title: "SamplerEulerCFG++",
      category: "_for_testing",
      inputs: { version: oneOf(["regular", "alternative"]) },
      outputs: ["SAMPLER"],
      experimental: true,
    },
  }),
  ...v3("align_your_steps", {
    AlignYourStepsScheduler: {
      category: SCHEDULERS,
      inputs: { model_type: oneOf(["SD1", "SDXL", "SVD"]), steps: int(10, 1, 10000), denoise: share(1) },
      outputs: ["SIGMAS"],
    },
  }),
  ...v3("gits", {
    GITSScheduler: {
      category: SCHEDULERS,
      inputs: { coeff: float(1.2, 0.8, 1.5, 0.05), steps: int(10, 2, 1000), denoise: share(1) },
      outputs: ["SIGMAS"],
    },
  }),
  ...v3("optimalsteps", {
    OptimalStepsScheduler: {
      category: SCHEDULERS,
      inputs: { model_type: oneOf(["FLUX", "Wan", "Chroma"]), steps: int(20, 3, 1000), denoise: share(1) },
      outputs: ["SIGMAS"],
    },
  }),
  ...v3("lt", {
    LTXVScheduler: {
      category: SCHEDULERS,
      inputs: {
        steps: STEPS,
        max_shift: float(2.05, 0, 100, 0.01),
        base_shift: float(0.95, 0, 100, 0.01),
        stretch: bool(true),
        terminal: float(0.1, 0, 0.99, 0.01),
      },
      optional: { latent: "LATENT" },
      outputs: ["SIGMAS"],
    },
  }),
};
