/**
 * The picture that stands for what a model would have painted: a landscape whose colours come from the prompt's words
 * and whose shapes come from the seed. It says STAND-IN, so that nobody takes it for a model's work.
 */
import type { ImageBatch } from "../node.ts";
import { drawLabel } from "./picture-label.ts";
import { mixed, type Palette, paletteFor, type Rgb } from "./picture-palette.ts";

/** Everything the picture depends on. The same values give the same bytes. */
export interface Scene {
  readonly prompt: string;
  readonly seed: bigint;
  readonly steps: number;
  /** More guidance, stronger colours. */
  readonly cfg: number;
  /** Whatever else tells two jobs apart: model, LoRAs, sampler, negative prompt. */
  readonly variant: string;
  /** Which picture of a batch. */
  readonly index: number;
  /** Where in a video, 0..1. */
  readonly time: number;
}

/** Paints one picture of three channels. */
export function paintScene(scene: Scene, width: number, height: number): ImageBatch {
  const random = new Chance(`${scene.seed}|${scene.index}|${scene.variant}`);
  const palette = paletteFor(scene.prompt, scene.cfg, random.next());
  const image: ImageBatch = { batch: 1, height, width, channels: 3, data: new Float32Array(width * height * 3) };
  paintSky(image, palette, random.fork("sky"), scene.time);
  const detail = Math.min(7, 2 + Math.ceil(Math.log2(scene.steps + 1)));
  if (palette.ground === "city") paintSkyline(image, palette, random.fork("city"));
  else paintRidges(image, palette, random.fork("ridges"), detail);
  if (palette.ground === "water") paintWater(image, palette, scene.time);
  finish(image, scene.steps);
  const words = scene.steps === 1 ? "1 step" : `${scene.steps} steps`;
  drawLabel(image, scene.prompt, [`seed ${scene.seed}`, words], palette.accent);
  return image;
}

/** Numbers in [0, 1) that follow from a text: FNV-1a for the start, Mulberry32 for the rest. */
class Chance {
  readonly #text: string;
  #state: number;

  constructor(text: string) {
    this.#text = text;
    let hash = 0x811c9dc5;
    for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
    this.#state = hash >>> 0;
  }

  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 0x1_0000_0000;
  }

  between(low: number, high: number): number {
    return low + (high - low) * this.next();
  }

  /** Numbers of its own, so that more draws for one thing do not move another. */
  fork(name: string): Chance {
    return new Chance(`${this.#text}|${name}`);
  }
}

/** A number in [0, 1) for a grid point. */
function grain(x: number, y: number, salt: number): number {
  let hash = Math.imul(x, 0x27d4eb2d) ^ Math.imul(y, 0x165667b1) ^ Math.imul(salt, 0x9e3779b1);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return ((hash ^ (hash >>> 12)) >>> 0) / 0x1_0000_0000;
}

const smooth = (t: number): number => t * t * (3 - 2 * t);
const unit = (t: number): number => Math.min(1, Math.max(0, t));

/** Smooth noise between random heights at whole numbers. */
function noise(x: number, y: number, salt: number): number {
  const left = Math.floor(x);
  const top = Math.floor(y);
  const u = smooth(x - left);
  const v = smooth(y - top);
  const upper = grain(left, top, salt) * (1 - u) + grain(left + 1, top, salt) * u;
  const lower = grain(left, top + 1, salt) * (1 - u) + grain(left + 1, top + 1, salt) * u;
  return upper * (1 - v) + lower * v;
}

/** Several octaves of noise, each half as strong and twice as fine; about 0..1. */
function layeredNoise(x: number, y: number, salt: number, octaves: number): number {
  let sum = 0;
  let total = 0;
  for (let octave = 0, strength = 1, scale = 1; octave < octaves; octave += 1, strength /= 2, scale *= 2) {
    sum += strength * noise(x * scale, y * scale, salt + octave);
    total += strength;
  }
  return sum / total;
}

function lay(image: ImageBatch, at: number, color: Rgb, share: number): void {
  for (let c = 0; c < 3; c += 1) {
    const before = image.data[at + c] ?? 0;
    image.data[at + c] = before + ((color[c] ?? 0) - before) * share;
  }
}

function paintSky(image: ImageBatch, palette: Palette, random: Chance, time: number): void {
  const { width, height } = image;
  const side = Math.min(width, height);
  const sun = { x: random.between(0.18, 0.82) * width, y: random.between(0.16, 0.42) * height };
  const radius = random.between(0.055, 0.095) * side;
  const salt = Math.floor(random.next() * 1e6);
  const drift = time * 1.5;
  // Clouds are soft: a point every few pixels is enough, the rest is interpolated.
  const cell = Math.max(2, Math.round(side / 128));
  const columns = Math.ceil(width / cell) + 2;
  const clouds = new Float32Array(columns * (Math.ceil(height / cell) + 2));
  for (let i = 0; i < clouds.length; i += 1) {
    const x = ((i % columns) * cell) / side;
    const y = (Math.floor(i / columns) * cell) / side;
    const stretched = layeredNoise(x * 2.2 + drift, y * 6.5, salt, 4);
    clouds[i] = unit((stretched - palette.cloudiness) * 3.2);
  }
  const { data } = image;
  const [glowR, glowG, glowB] = palette.glow;
  const [sunR, sunG, sunB] = palette.sun;
  const [cloudR, cloudG, cloudB] = palette.cloud;
  for (let y = 0; y < height; y += 1) {
    const depth = y / height;
    const [baseR, baseG, baseB] = skyColor(palette, depth);
    const cy = y / cell;
    const row = Math.floor(cy) * columns;
    const v = cy - Math.floor(cy);
    const dy = ((y - sun.y) / radius) ** 2;
    const thinning = (1 - depth * 0.9) * 0.62;
    for (let x = 0; x < width; x += 1) {
      const at = (y * width + x) * 3;
      const distance = ((x - sun.x) / radius) ** 2 + dy;
      const halo = 0.75 / (1 + distance * 0.16);
      let r = baseR + (glowR - baseR) * halo;
      let g = baseG + (glowG - baseG) * halo;
      let b = baseB + (glowB - baseB) * halo;
      const star = palette.stars > 0 ? starAt(x, y, salt, palette.stars) * (1 - depth) : 0;
      const edge = distance < 4 ? unit((1 - Math.sqrt(distance)) * radius * 0.7 + 0.5) : 0;
      r += (1 - r) * star;
      g += (1 - g) * star;
      b += (1 - b) * star;
      r += (sunR - r) * edge;
      g += (sunG - g) * edge;
      b += (sunB - b) * edge;
      const cx = x / cell;
      const i = row + Math.floor(cx);
      const u = cx - Math.floor(cx);
      const upper = (clouds[i] ?? 0) * (1 - u) + (clouds[i + 1] ?? 0) * u;
      const lower = (clouds[i + columns] ?? 0) * (1 - u) + (clouds[i + columns + 1] ?? 0) * u;
      const cover = (upper * (1 - v) + lower * v) * thinning;
      data[at] = r + (cloudR - r) * cover;
      data[at + 1] = g + (cloudG - g) * cover;
      data[at + 2] = b + (cloudB - b) * cover;
    }
  }
}

/** The sky at a height: 0 the zenith, 1 the lower edge of the picture. */
function skyColor(palette: Palette, depth: number): Rgb {
  if (depth < 0.45) return mixed(palette.zenith, palette.sky, smooth(depth / 0.45));
  return mixed(palette.sky, palette.horizon, smooth(unit((depth - 0.45) / 0.35)));
}

/** How bright a star stands at this pixel; mostly 0. */
function starAt(x: number, y: number, salt: number, density: number): number {
  return grain(x, y, salt + 77) > 1 - 0.0022 * density ? 0.35 + 0.65 * grain(y, x, salt) : 0;
}

const RIDGES = 5;

/** Hills behind hills: each nearer one lower, darker, and finer in shape. */
function paintRidges(image: ImageBatch, palette: Palette, random: Chance, detail: number): void {
  const { width, height } = image;
  for (let ridge = 0; ridge < RIDGES; ridge += 1) {
    const near = ridge / (RIDGES - 1);
    const salt = Math.floor(random.next() * 1e6);
    const crest = 0.42 + 0.33 * near + random.between(-0.03, 0.03);
    const relief = 0.3 - 0.16 * near;
    const frequency = 1.6 + 2.4 * near;
    const offset = random.next() * 100;
    const top = mixed(palette.far, palette.near, near ** 1.3);
    const foot = mixed(top, palette.horizon, 0.55 * (1 - near));
    const aspect = width / height;
    const edges = new Float32Array(width);
    for (let x = 0; x < width; x += 1) {
      const along = (x / width) * aspect * frequency + offset;
      const shape = layeredNoise(along, ridge * 7.3, salt, detail);
      const crag = 1 - Math.abs(2 * noise(along * 1.7, 3.1, salt + 31) - 1);
      edges[x] = (crest - relief * (0.7 * shape + 0.3 * crag - 0.35)) * height;
    }
    paintSlope(image, edges, top, foot, near, salt);
  }
}

/** Fills everything below a crest line: light on the edge, fading from `top` to `foot`, rougher when nearer. */
function paintSlope(image: ImageBatch, edges: Float32Array, top: Rgb, foot: Rgb, near: number, salt: number): void {
  const { width, height, data } = image;
  const first = Math.max(0, Math.floor(edges.reduce((a, b) => Math.min(a, b), height)));
  const rough = 0.04 * near;
  const shine = 0.09 * (1 - near * 0.5);
  for (let y = first; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const share = unit(y - (edges[x] ?? 0) + 0.5);
      if (share === 0) continue;
      const below = (y - (edges[x] ?? 0)) / height;
      const fade = smooth(unit(below * 3.2));
      const light = (grain(x >> 1, y >> 1, salt) - 0.5) * rough + shine * unit(1 - below * 14);
      const at = (y * width + x) * 3;
      for (let c = 0; c < 3; c += 1) {
        const color = (top[c] ?? 0) + ((foot[c] ?? 0) - (top[c] ?? 0)) * fade + light;
        data[at + c] = (data[at + c] ?? 0) * (1 - share) + color * share;
      }
    }
  }
}

/** Rows of houses with lit windows. */
function paintSkyline(image: ImageBatch, palette: Palette, random: Chance): void {
  const { width, height } = image;
  const rows = 3;
  for (let row = 0; row < rows; row += 1) {
    const near = row / (rows - 1);
    const wall = mixed(palette.far, palette.near, 0.25 + 0.75 * near);
    const story = Math.max(3, Math.round(height / (70 - 26 * near)));
    for (let x = 0; x < width; ) {
      const wide = Math.max(4, Math.round(random.between(0.05, 0.13) * (0.7 + 0.6 * near) * width));
      const roof = Math.round(height * (0.62 + 0.16 * near - random.between(0.05, 0.4) * (1 - 0.45 * near)));
      const salt = Math.floor(random.next() * 1e6);
      for (let y = Math.max(0, roof); y < height; y += 1) {
        const haze = mixed(wall, palette.horizon, 0.35 * (1 - near) * unit((y - roof) / (height * 0.4)));
        for (let column = x; column < Math.min(width, x + wide); column += 1) {
          const at = (y * width + column) * 3;
          image.data.set(haze, at);
          const wx = Math.floor((column - x) / story);
          const wy = Math.floor((y - roof) / story);
          const inWindow = (column - x) % story > story * 0.35 && (y - roof) % story > story * 0.4;
          if (inWindow && grain(wx, wy, salt) > 0.58) lay(image, at, palette.glow, 0.35 + 0.6 * grain(wy, wx, salt));
        }
      }
      x += wide + (random.next() > 0.7 ? Math.round(width * 0.01) : 0);
    }
  }
}

/** A lake that mirrors what stands above it. */
function paintWater(image: ImageBatch, palette: Palette, time: number): void {
  const { width, height } = image;
  const shore = Math.round(height * 0.72);
  for (let y = shore; y < height; y += 1) {
    const depth = (y - shore) / (height - shore);
    const wave = Math.sin(y * 0.55 + time * 6) * (1 + depth * 4);
    const mirrored = Math.max(0, Math.round(shore - (y - shore) * 1.55));
    for (let x = 0; x < width; x += 1) {
      const shift = Math.round(wave * (noise(x * 0.05 + time * 3, y * 0.6, 5) - 0.5) * 3);
      const from = (mirrored * width + Math.min(width - 1, Math.max(0, x + shift))) * 3;
      const at = (y * width + x) * 3;
      const glint = noise(x * 0.09 + time * 4, y * 1.3, 9) > 0.83 ? 0.16 : 0;
      for (let c = 0; c < 3; c += 1) image.data[at + c] = (image.data[from + c] ?? 0) * 0.82;
      lay(image, at, palette.near, 0.18 + 0.3 * depth);
      if (glint > 0) lay(image, at, palette.glow, glint * (1 - depth));
    }
  }
}

/** A little darkness towards the corners, a little grain against banding, and everything within 0..1. */
function finish(image: ImageBatch, salt: number): void {
  const { width, height, data } = image;
  for (let y = 0; y < height; y += 1) {
    const dy = (y / height) * 2 - 1;
    for (let x = 0; x < width; x += 1) {
      const dx = (x / width) * 2 - 1;
      const shade = 1 - 0.16 * (dx * dx + dy * dy) ** 2 * 0.6;
      const speck = (grain(x, y, 991 + salt) - 0.5) * 0.008;
      const at = (y * width + x) * 3;
      for (let c = 0; c < 3; c += 1) data[at + c] = unit((data[at + c] ?? 0) * shade + speck);
    }
  }
}
