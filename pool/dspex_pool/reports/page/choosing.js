// Which rows are shown, and in which order: what is typed and chosen above the table.

const plan = JSON.parse(document.getElementById("plan").textContent);
const rows = JSON.parse(document.getElementById("rows").textContent);

const wanted = { text: "", column: 0, low: null, high: null, choices: plan.choices.map(() => null) };
const ranged = plan.columns.filter(isNumeric);
const order = { column: -1, descending: false };
const opened = new Set();
const haystacks = [];
let chosen = rows.map((_, at) => at);
let page = 0;

function haystack(at) {
  haystacks[at] ??= texts(rows[at]).toLowerCase();
  return haystacks[at];
}

function texts(value) {
  if (typeof value === "string") return value;
  if (value === null || typeof value !== "object") return String(value);
  if (Array.isArray(value)) return value.map(texts).join("\n");
  return Object.entries(value).map(([key, item]) => `${key}: ${texts(item)}`).join("\n");
}

function fits(at) {
  const row = rows[at];
  if (wanted.low !== null || wanted.high !== null) {
    const value = number(reach(row, ranged[wanted.column].at));
    if (value === null) return false;
    if (wanted.low !== null && value < wanted.low) return false;
    if (wanted.high !== null && value > wanted.high) return false;
  }
  for (const [n, choice] of wanted.choices.entries()) {
    if (choice !== null && choiceOf(row, plan.choices[n]) !== choice) return false;
  }
  return !wanted.text || haystack(at).includes(wanted.text);
}

function choiceOf(row, { at }) {
  const value = reach(row, at);
  return value === undefined || value === null ? "" : String(value);
}

function key(at) {
  const column = plan.columns[order.column];
  const value = reach(rows[at], column.at);
  return isNumeric(column) ? number(value) : preview(value);
}

// What has no value comes last, whichever way the others are.
function sort() {
  if (order.column < 0) return;
  const keys = new Map(chosen.map((at) => [at, key(at)]));
  const way = order.descending ? -1 : 1;
  chosen.sort((a, b) => {
    const left = keys.get(a);
    const right = keys.get(b);
    const isNone = (value) => value === null || value === "";
    if (isNone(left) || isNone(right)) return Number(isNone(left)) - Number(isNone(right)) || a - b;
    return left < right ? -way : left > right ? way : a - b;
  });
}

function choose() {
  chosen = rows.map((_, at) => at).filter(fits);
  sort();
  page = 0;
  show();
}

function labelled(label, control) {
  return make("label", "", make("span", "", words(label)), control);
}

function selection(options, changed) {
  const made = make("select");
  for (const [value, label] of options) {
    const option = make("option", "", words(label));
    option.value = value;
    made.append(option);
  }
  made.addEventListener("change", () => changed(made.value));
  return made;
}

function typed(type, changed) {
  const made = make("input");
  made.type = type;
  let waiting;
  made.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => changed(made.value), 120);
  });
  return made;
}

function bound(side) {
  const made = typed("number", (value) => {
    wanted[side] = value === "" ? null : Number(value);
    choose();
  });
  made.step = "any";
  return made;
}

function controls() {
  const search = typed("search", (value) => {
    wanted.text = value.toLowerCase();
    choose();
  });
  const made = make("form", "controls", labelled("Text", search));
  made.addEventListener("submit", (event) => event.preventDefault());
  if (ranged.length) {
    const which = selection(ranged.map((column, n) => [n, column.label]), (value) => {
      wanted.column = Number(value);
      choose();
    });
    made.append(labelled("Figure", which), labelled("from", bound("low")), labelled("to", bound("high")));
  }
  for (const [n, choice] of plan.choices.entries()) {
    made.append(labelled(choice.label, selection(choicesOf(choice), (value) => {
      wanted.choices[n] = value === "*" ? null : value.slice(1);
      choose();
    })));
  }
  return made;
}

function choicesOf(choice) {
  const counts = new Map();
  for (const row of rows) {
    const value = choiceOf(row, choice);
    counts.set(value, (counts.get(value) ?? 0) + 1);
  }
  const options = [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).slice(0, 200);
  const named = options.map(([value, count]) => [`=${value}`, `${value.slice(0, 80) || choice.none} (${count})`]);
  return [["*", "any"], ...named];
}
