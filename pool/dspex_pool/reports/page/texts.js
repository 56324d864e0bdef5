// Values of rows as elements and text nodes. Nothing is read as HTML, and the page's policy
// (trusted types, with none allowed) would refuse to.

const PREVIEW = 140;
const CUT = 4000;
const DEEPEST = 40;
const MOST_MARKS = 1000;
const PLAIN = new Set(["$date", "$decimal", "$float", "$integer", "$time", "$timestamp"]);
// Characters that hide, reorder or steer; as in marks.py.
const MARKED =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff\u{e0000}-\u{e007f}\ud800-\udfff]/gu;

function mark(character) {
  return `\u2039U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}\u203a`;
}

function make(name, look, ...content) {
  const made = document.createElement(name);
  if (look) made.className = look;
  made.append(...content);
  return made;
}

// A text with its marks, each told apart from what looks like one, as long as they are not
// so many that a browser takes minutes to lay them out.
function words(text) {
  const whole = document.createDocumentFragment();
  const shown = text.replaceAll("\r\n", "\n");
  let from = 0;
  let marks = 0;
  for (const found of shown.matchAll(MARKED)) {
    if (++marks > MOST_MARKS) {
      whole.append(shown.slice(from).replaceAll(MARKED, mark));
      return whole;
    }
    if (found.index > from) whole.append(shown.slice(from, found.index));
    whole.append(make("span", "mark", mark(found[0])));
    from = found.index + found[0].length;
  }
  whole.append(shown.slice(from));
  return whole;
}

function reach(row, path) {
  let at = row;
  for (const key of path) {
    if (at === null || typeof at !== "object" || !Object.hasOwn(at, key)) return undefined;
    at = at[key];
  }
  return at;
}

function isMap(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function isNumeric({ kind }) {
  return ["score", "number", "difference", "exact"].includes(kind);
}

function number(value) {
  return typeof value === "number" ? value : typeof value === "boolean" ? Number(value) : null;
}

// A value on one line. Only as much of it is looked at as can be seen.
function preview(given) {
  const value = plainly(given);
  if (value === undefined || value === null) return "";
  if (typeof value === "string") return value.slice(0, 4 * PREVIEW).replace(/\s+/g, " ").slice(0, PREVIEW);
  if (isMap(value)) {
    const entries = Object.entries(value);
    const one = entries.length === 1 && !entries[0][0].startsWith("$");
    const pieces = shortFirst(entries.slice(0, 8)).map(([key, item]) => (one ? preview(item) : `${key}: ${preview(item)}`));
    return pieces.join(" \u00b7 ").slice(0, PREVIEW);
  }
  if (typeof value === "number") return String(Number(value.toPrecision(12)));
  return JSON.stringify(value).slice(0, PREVIEW);
}

// An answer says more of a row than the reasoning before it.
function shortFirst(entries) {
  const isShort = ([, value]) => typeof value !== "string" || value.length <= 60;
  return [...entries.filter(isShort), ...entries.filter((entry) => !isShort(entry))];
}

function figure(value, kind) {
  const size = Math.abs(value);
  if (size >= 1e15 || (value !== 0 && size < 0.001)) return value.toPrecision(3);
  if (kind === "difference") return `${value > 0 ? "+" : ""}${value.toFixed(3)}`.replace("-", "\u2212");
  if (kind === "exact") return String(Number(value.toPrecision(6))).replace("-", "\u2212");
  if (kind === "score") return value.toFixed(3);
  if (size < 100) return String(Number(value.toPrecision(3)));
  return Math.round(value).toLocaleString("en");
}

// What JSON lacks but is a text: a moment, a decimal, a number that is not finite.
function plainly(value) {
  if (!isMap(value)) return value;
  const [[name, written] = [], ...others] = Object.entries(value);
  if (!PLAIN.has(name) || typeof written !== "string" || others.length) return value;
  if (name !== "$timestamp") return written;
  return written.replace("T", " ").replace(/\.\d+/, "").replace("+00:00", " UTC");
}

function full(given, depth = 0) {
  const value = plainly(given);
  if (value === undefined || value === null) return make("span", "nothing", value === null ? "nil" : "none");
  if (typeof value === "string") return long(value);
  if (typeof value !== "object") return make("code", "", String(value));
  if (typeof value.text === "string" && Object.keys(value).every((key) => key === "text" || key === "characters")) {
    return long(value.text);
  }
  if (depth > DEEPEST) return long(JSON.stringify(value));
  if (Array.isArray(value)) return list(value, depth);
  return map(value, depth);
}

function map(value, depth) {
  const entries = Object.entries(value);
  if (!entries.length) return make("span", "nothing", "empty");
  const made = make("dl", "fields");
  for (const [key, item] of entries) made.append(make("dt", "", words(key)), make("dd", "", full(item, depth + 1)));
  return made;
}

function list(value, depth) {
  if (!value.length) return make("span", "nothing", "empty");
  if (value.every((item) => typeof item === "number")) return long(JSON.stringify(value));
  if (value.every((item) => isMap(item) && typeof item.role === "string")) {
    return make("div", "", ...value.map((item) => message(item, depth)));
  }
  const made = make("ol", "items");
  for (const item of value) made.append(make("li", "", full(item, depth + 1)));
  return made;
}

// As of a request to a language model, whose texts go by `text`, or as models themselves have it.
function message({ role, content, text, characters, ...others }, depth) {
  const made = make("div", "message", make("div", "dim", words(role)), full(content ?? text ?? null, depth + 1));
  if (Object.keys(others).length) made.append(full(others, depth + 1));
  return made;
}

// A line for each entry, and what is nil left out.
function compact(value) {
  if (!isMap(value)) return full(value);
  const made = make("ul", "entries");
  for (const [name, item] of Object.entries(value)) {
    if (lacks(item)) continue;
    const parts = isMap(item) ? Object.entries(item).filter(([, part]) => !lacks(part)) : [["", item]];
    made.append(make("li", "", make("span", "name", words(name)), ...parts.map(([key, part]) => entry(key, part))));
  }
  return made;
}

function lacks(value) {
  return value === null || (typeof value === "object" && !Object.keys(value).length);
}

function entry(key, value) {
  const name = key ? [make("span", "dim", words(key)), " "] : [];
  const known = plainly(value);
  if (typeof known !== "object" && String(known).length <= 60) return make("span", "", ...name, words(String(known)));
  return make("div", "verbatim", ...name, full(known));
}

// A text of any length; of a long one its beginning, and a button for the rest.
function long(text) {
  const made = make("pre", "verbatim");
  made.dir = "auto";
  if (text.length <= CUT) {
    made.append(words(text));
    return made;
  }
  const isHalf = /[\ud800-\udbff]/.test(text[CUT - 1]);
  made.append(words(text.slice(0, isHalf ? CUT - 1 : CUT)), "\u2026");
  const more = make("button", "more", `show all ${text.length.toLocaleString("en")} characters`);
  more.type = "button";
  more.addEventListener("click", () => {
    made.replaceChildren(words(text));
    more.remove();
  });
  return make("div", "", made, more);
}
