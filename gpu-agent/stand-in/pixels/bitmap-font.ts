/**
 * Letters for pictures: five pixels wide, seven high, drawn for this project. Each glyph is seven digits of base 32,
 * one per row from the top, the highest bit leftmost.
 */

const GLYPHS: Readonly<Record<string, string>> = {
  " ": "0000000",
  "!": "4444004",
  '"': "aaa0000",
  "#": "aavavaa",
  $: "4fke5u4",
  "%": "op248j3",
  "&": "cik8lid",
  "'": "c480000",
  "(": "2488842",
  ")": "8422248",
  "*": "04lel40",
  "+": "044v440",
  ",": "0000c48",
  "-": "000v000",
  ".": "00000cc",
  "/": "01248g0",
  "0": "ehjlphe",
  "1": "4c4444e",
  "2": "eh168gv",
  "3": "eh161he",
  "4": "26aiv22",
  "5": "vgu11he",
  "6": "68guhhe",
  "7": "v124888",
  "8": "ehhehhe",
  "9": "ehhf12c",
  ":": "0cc0cc0",
  ";": "0cc0c48",
  "<": "248g842",
  "=": "00v0v00",
  ">": "8421248",
  "?": "eh12404",
  "@": "eh1dlle",
  A: "ehhvhhh",
  B: "uhhuhhu",
  C: "ehggghe",
  D: "uhhhhhu",
  E: "vgguggv",
  F: "vgguggg",
  G: "ehgnhhf",
  H: "hhhvhhh",
  I: "e44444e",
  J: "72222ic",
  K: "hikokih",
  L: "ggggggv",
  M: "hrllhhh",
  N: "hhpljhh",
  O: "ehhhhhe",
  P: "uhhuggg",
  Q: "ehhhlid",
  R: "uhhukih",
  S: "fgge11u",
  T: "v444444",
  U: "hhhhhhe",
  V: "hhhhha4",
  W: "hhhllla",
  X: "hha4ahh",
  Y: "hhha444",
  Z: "v1248gv",
  "[": "e88888e",
  "\\": "0g84210",
  "]": "e22222e",
  "^": "4ah0000",
  _: "000000v",
  "`": "8420000",
  a: "00e1fhf",
  b: "ggmphhu",
  c: "00egghe",
  d: "11djhhf",
  e: "00ehvge",
  f: "698s888",
  g: "0fhhf1e",
  h: "ggmphhh",
  i: "40c444e",
  j: "20622ic",
  k: "ggikoki",
  l: "c44444e",
  m: "00qllhh",
  n: "00mphhh",
  o: "00ehhhe",
  p: "00uhugg",
  q: "00djf11",
  r: "00mpggg",
  s: "00ege1u",
  t: "88s8896",
  u: "00hhhjd",
  v: "00hhha4",
  w: "00hhlla",
  x: "00ha4ah",
  y: "00hhf1e",
  z: "00v248v",
  "{": "2448442",
  "|": "4444444",
  "}": "8442448",
  "~": "008l200",
  "·": "000cc00",
  "…": "000000l",
  "×": "0ha4ah0",
};
/** Stands for every character without a glyph. */
const BOX = "vhhhhhv";

export const GLYPH_WIDTH = 5;
export const GLYPH_HEIGHT = 7;
/** From one letter's left edge to the next one's. */
export const GLYPH_ADVANCE = 6;

/** The text with accents taken off, so that most languages of this alphabet can be read. */
export function plainLetters(text: string): string {
  return text.normalize("NFD").replace(/\p{Mn}/gu, "");
}

/** Pixels a line of text takes across at scale 1. */
export function textWidth(text: string): number {
  return Math.max(0, [...text].length * GLYPH_ADVANCE - (GLYPH_ADVANCE - GLYPH_WIDTH));
}

/** Calls `plot` for every pixel of a line of text whose upper left corner is (0, 0). */
export function eachTextPixel(text: string, plot: (x: number, y: number) => void): void {
  for (const [index, character] of [...text].entries()) {
    const glyph = GLYPHS[character] ?? BOX;
    for (let y = 0; y < GLYPH_HEIGHT; y += 1) {
      const row = Number.parseInt(glyph[y] ?? "0", 32);
      for (let x = 0; x < GLYPH_WIDTH; x += 1) {
        if ((row >> (GLYPH_WIDTH - 1 - x)) & 1) plot(index * GLYPH_ADVANCE + x, y);
      }
    }
  }
}
