/** The label of a stand-in picture: what it is, the prompt's first words, and the numbers it was made with. */
import type { ImageBatch } from "../node.ts";
import { eachTextPixel, GLYPH_ADVANCE, GLYPH_HEIGHT, plainLetters, textWidth } from "./bitmap-font.ts";
import type { Rgb } from "./picture-palette.ts";

const TITLE = "STAND-IN";
const PROMPT_LINES_MAX = 2;
const LINE_GAP = 4;
/** Of the picture's height. */
const LABEL_SHARE_MAX = 0.4;
const PAPER: Rgb = [0.035, 0.04, 0.06];
const INK: Rgb = [0.95, 0.96, 0.98];
const FAINT: Rgb = [0.68, 0.71, 0.77];

/** A line at its place in the label, in pixels of the font. */
interface Line {
  readonly text: string;
  readonly color: Rgb;
  readonly bold: boolean;
}

/**
 * Draws the label into the lower left corner, as large as the picture allows. Pictures too small for a line leave it
 * out; those narrower than the title have no label.
 * @param facts short phrases, joined by dots as far as they fit
 */
export function drawLabel(image: ImageBatch, prompt: string, facts: readonly string[], accent: Rgb): void {
  const scale = Math.max(1, Math.round(Math.min(image.width, image.height) / 240));
  const columns = Math.floor((image.width / scale - 8) / GLYPH_ADVANCE);
  if (columns < TITLE.length) {
    if (image.width > textWidth(TITLE)) drawText(image, { text: TITLE, color: INK, bold: false }, 0, 1, 1);
    return;
  }
  const rows = Math.floor((image.height * LABEL_SHARE_MAX) / scale / (GLYPH_HEIGHT + LINE_GAP));
  const words = wrapped(plainLetters(prompt), columns, PROMPT_LINES_MAX);
  const numbers = fitting(facts, columns);
  const lines: Line[] = [
    { text: TITLE, color: accent, bold: true },
    ...words.map((text) => ({ text, color: INK, bold: false })),
    ...(numbers === "" ? [] : [{ text: numbers, color: FAINT, bold: false }]),
  ].slice(0, Math.max(1, Math.min(rows, 4)));
  const pad = 4;
  const width = Math.max(...lines.map((line) => textWidth(line.text) + 1)) + 2 * pad;
  const height = lines.length * (GLYPH_HEIGHT + LINE_GAP) - LINE_GAP + 2 * pad;
  const margin = image.width / scale > width + 2 * pad ? pad : 0;
  const left = margin * scale;
  const top = image.height - (height + margin) * scale;
  fill(image, left, top, width * scale, height * scale, scale * 2);
  for (const [index, line] of lines.entries()) {
    drawText(image, line, left + pad * scale, top + (pad + index * (GLYPH_HEIGHT + LINE_GAP)) * scale, scale);
  }
}

/** Breaks a text into at most `count` lines of `columns` letters; what does not fit ends with an ellipsis. */
function wrapped(text: string, columns: number, count: number): string[] {
  const words = text.split(/\s+/).filter((word) => word !== "");
  const lines: string[] = [];
  let line = "";
  for (const word of words) {
    const longer = line === "" ? word : `${line} ${word}`;
    if ([...longer].length <= columns) line = longer;
    else if (lines.length === count - 1) return [...lines, cut(longer, columns)];
    else {
      if (line !== "") lines.push(line);
      line = [...word].length <= columns ? word : cut(word, columns);
    }
  }
  return (line === "" ? lines : [...lines, line]).slice(0, count);
}

function cut(text: string, columns: number): string {
  return `${[...text]
    .slice(0, columns - 1)
    .join("")
    .trimEnd()}…`;
}

function fitting(facts: readonly string[], columns: number): string {
  for (let count = facts.length; count > 0; count -= 1) {
    const text = facts.slice(0, count).join(" · ");
    if (text.length <= columns) return text;
  }
  return "";
}

/** A dark sheet with rounded corners that lets a little of the picture through. */
function fill(image: ImageBatch, left: number, top: number, width: number, height: number, radius: number): void {
  for (let y = Math.max(0, top); y < Math.min(image.height, top + height); y += 1) {
    for (let x = Math.max(0, left); x < Math.min(image.width, left + width); x += 1) {
      const dx = Math.max(left + radius - x - 0.5, x + 0.5 - (left + width - radius), 0);
      const dy = Math.max(top + radius - y - 0.5, y + 0.5 - (top + height - radius), 0);
      if (dx * dx + dy * dy > radius * radius) continue;
      const at = (y * image.width + x) * 3;
      for (let c = 0; c < 3; c += 1) image.data[at + c] = (image.data[at + c] ?? 0) * 0.28 + (PAPER[c] ?? 0) * 0.72;
    }
  }
}

function drawText(image: ImageBatch, line: Line, left: number, top: number, scale: number): void {
  const plot = (column: number, row: number) => {
    for (let y = top + row * scale; y < top + (row + 1) * scale; y += 1) {
      for (let x = left + column * scale; x < left + (column + 1) * scale; x += 1) {
        if (x >= 0 && y >= 0 && x < image.width && y < image.height)
          image.data.set(line.color, (y * image.width + x) * 3);
      }
    }
  };
  eachTextPixel(line.text, (x, y) => {
    plot(x, y);
    if (line.bold && scale > 1) for (let i = 1; i <= scale >> 1; i += 1) plot(x + i / scale, y);
  });
}
