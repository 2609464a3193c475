/** Text that is HTML already; everything else is escaped when it is put into a template. */
export class Html {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

type Value = string | number | Html | readonly Html[];

/** A template whose values are escaped: html`<p>${text}</p>`. */
export function html(strings: TemplateStringsArray, ...values: readonly Value[]): Html {
  return new Html(strings.reduce((text, part, index) => text + shown(values[index - 1]) + part));
}

function shown(value: Value | undefined): string {
  if (value === undefined) return "";
  if (value instanceof Html) return value.text;
  if (typeof value === "string" || typeof value === "number") return escaped(String(value));
  return value.map((item) => item.text).join("");
}

function escaped(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;");
}

/** Inline code in `backticks`; everything else is text. */
export function prose(text: string): Html {
  const pieces = text
    .split("`")
    .map((piece, index) => (index % 2 === 1 ? html`<code>${piece}</code>` : html`${piece}`));
  return html`${pieces}`;
}

const STYLE = `
:root { color-scheme: light dark; --ink: light-dark(#1c1917, #f5f5f4); --dim: light-dark(#57534e, #a8a29e);
  --paper: light-dark(#fffefb, #14110f); --line: light-dark(#e7e2da, #34302c); --soft: light-dark(#f6f2ea, #1f1b18);
  --flame: light-dark(#b4450b, #fb923c); }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.6 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1.25rem 6rem; }
a { color: var(--flame); }
h1 { font-size: 1.9rem; margin: 0 0 .5rem; } h2 { margin: 3rem 0 1rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { margin: 2.5rem 0 .25rem; font-size: 1.1rem; }
p { margin: .5rem 0; } .dim { color: var(--dim); }
code, pre { font: .875em/1.55 ui-monospace, monospace; }
code { background: var(--soft); padding: .1em .3em; border-radius: 4px; overflow-wrap: anywhere; }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: 8px; padding: .8rem 1rem; overflow-x: auto; }
pre code { background: none; padding: 0; overflow-wrap: normal; }
table { border-collapse: collapse; width: 100%; margin: .75rem 0; font-size: .94rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--dim); font-weight: 600; }
.verb { font: 600 .8rem ui-monospace, monospace; color: var(--flame); margin-right: .5rem; }
nav ul { columns: 16rem; padding-left: 1.1rem; margin: .25rem 0 1rem; } nav li { break-inside: avoid; }
details { margin: .5rem 0; } summary { cursor: pointer; color: var(--dim); }
:target { scroll-margin-top: 1rem; background: var(--soft); }
a:focus-visible, summary:focus-visible { outline: 2px solid var(--flame); outline-offset: 2px; }
.scroll { overflow-x: auto; }
`;

/** A whole page. */
export function page(title: string, content: Html): Html {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<link rel="icon" href="/favicon.svg" type="image/svg+xml">
<style>${new Html(STYLE)}</style>
</head>
<body><main>
${content}
</main></body>
</html>
`;
}

/** Sends a page; its policy allows our own style by hash, our own icon, and nothing else. */
export async function htmlAnswer(content: Html): Promise<Response> {
  return new Response(content.text, {
    headers: {
      "content-type": "text/html; charset=utf-8",
      "cache-control": "public, max-age=300",
      "content-security-policy": `default-src 'none'; style-src 'sha256-${await styleHash()}'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
    },
  });
}

async function styleHash(): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(STYLE)));
  return btoa(String.fromCharCode(...digest));
}
