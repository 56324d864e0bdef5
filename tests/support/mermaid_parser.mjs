// Reads a JSON array of Mermaid texts from stdin; prints what Mermaid's own parser finds in each.
// Needs the npm packages mermaid and jsdom beside it.

import { readFileSync } from "node:fs";
import { JSDOM } from "jsdom";

const { window } = new JSDOM("<!doctype html><body></body>");
globalThis.window = window;
globalThis.document = window.document;
for (const name of ["Element", "HTMLElement", "SVGElement", "Node", "DocumentFragment", "NodeFilter", "DOMParser"]) {
  globalThis[name] = window[name];
}

const { default: mermaid } = await import("mermaid");
mermaid.initialize({ startOnLoad: false, securityLevel: "strict", maxTextSize: 1_000_000 });

async function read(text) {
  try {
    const { db } = await mermaid.mermaidAPI.getDiagramFromText(text);
    const nodes = [...db.getVertices().values()];
    return {
      nodes: nodes.map(({ id, text, link, styles }) => ({ id, text, link: link ?? null, styles })),
      edges: db.getEdges().map(({ start, end, text }) => ({ start, end, text })),
    };
  } catch (reason) {
    return { error: String(reason) };
  }
}

const found = [];
for (const text of JSON.parse(readFileSync(0, "utf8"))) found.push(await read(text));
process.stdout.write(JSON.stringify(found), () => process.exit(0));
