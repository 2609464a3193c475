/** The colours of a stand-in picture, chosen by the words of its prompt. */

export type Rgb = readonly [number, number, number];

export interface Palette {
  readonly zenith: Rgb;
  readonly sky: Rgb;
  readonly horizon: Rgb;
  readonly sun: Rgb;
  readonly glow: Rgb;
  readonly cloud: Rgb;
  /** The farthest hills and the nearest. */
  readonly far: Rgb;
  readonly near: Rgb;
  readonly accent: Rgb;
  /** Noise above this is cloud: 0 overcast, 1 clear. */
  readonly cloudiness: number;
  /** 0 none … 1 many. */
  readonly stars: number;
  readonly ground: "hills" | "water" | "city";
}

/** Hue in degrees, saturation and lightness 0..1. */
type Hsl = readonly [hue: number, saturation: number, lightness: number];

interface Mood {
  readonly words: RegExp;
  readonly zenith: Hsl;
  readonly sky: Hsl;
  readonly horizon: Hsl;
  readonly sun: Hsl;
  readonly cloud: Hsl;
  readonly far: Hsl;
  readonly near: Hsl;
  readonly cloudiness?: number;
  readonly stars?: number;
}

/** The first mood one of whose words the prompt has; the last ones serve prompts that say nothing of the kind. */
const MOODS: readonly Mood[] = [
  {
    words: /\b(night|midnight|space|galax\w*|stars?|starry|moon\w*|cosmic|nebula|dark)\b/i,
    zenith: [236, 0.6, 0.07],
    sky: [246, 0.5, 0.17],
    horizon: [284, 0.42, 0.4],
    sun: [48, 0.6, 0.93],
    cloud: [262, 0.35, 0.5],
    far: [250, 0.34, 0.3],
    near: [240, 0.5, 0.05],
    cloudiness: 0.58,
    stars: 1,
  },
  {
    words: /\b(sunset|sunrise|dusk|dawn|golden|evening|fire|flames?|lava|autumn|fall|orange|warm)\b/i,
    zenith: [252, 0.42, 0.28],
    sky: [332, 0.5, 0.5],
    horizon: [28, 0.95, 0.66],
    sun: [46, 1, 0.88],
    cloud: [14, 0.85, 0.72],
    far: [318, 0.3, 0.46],
    near: [262, 0.42, 0.12],
    cloudiness: 0.47,
    stars: 0.15,
  },
  {
    words: /\b(cyberpunk|neon|vaporwave|synthwave|retro|futuristic|purple|violet|magenta|pink)\b/i,
    zenith: [258, 0.7, 0.13],
    sky: [286, 0.62, 0.3],
    horizon: [325, 0.85, 0.62],
    sun: [330, 1, 0.8],
    cloud: [300, 0.6, 0.6],
    far: [272, 0.5, 0.34],
    near: [254, 0.66, 0.09],
    cloudiness: 0.55,
    stars: 0.5,
  },
  {
    words: /\b(snow\w*|winter|ice|icy|frozen|glacier|arctic|white|fog\w*|mist\w*)\b/i,
    zenith: [212, 0.42, 0.62],
    sky: [208, 0.42, 0.76],
    horizon: [30, 0.5, 0.9],
    sun: [45, 0.9, 0.96],
    cloud: [210, 0.25, 0.95],
    far: [214, 0.28, 0.74],
    near: [216, 0.32, 0.34],
    cloudiness: 0.44,
  },
  {
    words: /\b(desert|sand\w*|dunes?|egypt\w*|savanna|yellow|gold)\b/i,
    zenith: [205, 0.55, 0.52],
    sky: [196, 0.45, 0.7],
    horizon: [40, 0.85, 0.82],
    sun: [48, 1, 0.93],
    cloud: [40, 0.5, 0.93],
    far: [30, 0.5, 0.66],
    near: [18, 0.58, 0.3],
    cloudiness: 0.62,
  },
  {
    words: /\b(ocean|sea|beach|underwater|lake|water|island|coast|river|blue|cyan|turquoise|boat|ship)\b/i,
    zenith: [210, 0.72, 0.42],
    sky: [198, 0.66, 0.62],
    horizon: [178, 0.5, 0.85],
    sun: [50, 1, 0.93],
    cloud: [200, 0.3, 0.97],
    far: [200, 0.36, 0.56],
    near: [206, 0.6, 0.2],
    cloudiness: 0.5,
  },
  {
    words: /\b(forest|jungle|trees?|nature|garden|green|grass|meadow|spring|leaf|leaves|moss)\b/i,
    zenith: [200, 0.5, 0.5],
    sky: [186, 0.42, 0.7],
    horizon: [70, 0.6, 0.84],
    sun: [54, 1, 0.93],
    cloud: [90, 0.25, 0.96],
    far: [160, 0.26, 0.56],
    near: [148, 0.52, 0.14],
    cloudiness: 0.5,
  },
  {
    words: /\b(blood|horror|hell|mars|red|rose|roses|valentine)\b/i,
    zenith: [350, 0.6, 0.14],
    sky: [354, 0.6, 0.34],
    horizon: [16, 0.8, 0.62],
    sun: [28, 1, 0.86],
    cloud: [2, 0.6, 0.5],
    far: [350, 0.4, 0.36],
    near: [345, 0.55, 0.08],
    cloudiness: 0.5,
  },
];

const CITY =
  /\b(city|street|skyline|building\w*|tower\w*|urban|house|town|architecture|cyberpunk|tokyo|york|paris|london)\b/i;
const WATER = /\b(ocean|sea|beach|lake|water|island|coast|river|boat|ship|reflection\w*|underwater|fish\w*)\b/i;

/**
 * @param cfg guidance: around 7 colours are as chosen, more strengthens and less pales them
 * @param turn 0..1, moves the hues a little so that two seeds differ in more than shape
 */
export function paletteFor(prompt: string, cfg: number, turn: number): Palette {
  const spoken = MOODS.find((mood) => mood.words.test(prompt));
  const mood = spoken ?? MOODS[Math.floor(promptNumber(prompt) * MOODS.length)];
  if (mood === undefined) throw new RangeError("There is always a mood");
  const strength = Math.min(1.2, Math.max(0.55, 0.8 + cfg / 35));
  const shift = (turn - 0.5) * (spoken === undefined ? 60 : 26);
  const color = ([hue, saturation, lightness]: Hsl): Rgb =>
    rgb(hue + shift, Math.min(1, saturation * strength), lightness);
  const ground = CITY.test(prompt)
    ? "city"
    : WATER.test(prompt) || promptNumber(`${prompt}?`) > 0.72
      ? "water"
      : "hills";
  return {
    zenith: color(mood.zenith),
    sky: color(mood.sky),
    horizon: color(mood.horizon),
    sun: color(mood.sun),
    glow: mixed(color(mood.sun), color(mood.horizon), 0.45),
    cloud: color(mood.cloud),
    far: color(mood.far),
    near: color(mood.near),
    accent: rgb(mood.horizon[0] + shift, 0.85, 0.68),
    cloudiness: mood.cloudiness ?? 0.5,
    stars: mood.stars ?? 0,
    ground,
  };
}

/** `share` of b in a. */
export function mixed(a: Rgb, b: Rgb, share: number): Rgb {
  return [a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share];
}

/** A number in [0, 1) that follows from the text. */
function promptNumber(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash ^= hash >>> 15;
  return (Math.imul(hash, 0x2c1b3c6d) >>> 0) / 0x1_0000_0000;
}

function rgb(hue: number, saturation: number, lightness: number): Rgb {
  const chroma = (1 - Math.abs(2 * lightness - 1)) * saturation;
  const part = (offset: number): number => {
    const at = (((hue / 30 + offset) % 12) + 12) % 12;
    return lightness - (chroma / 2) * Math.max(-1, Math.min(at - 3, 9 - at, 1));
  };
  return [part(0), part(8), part(4)];
}
