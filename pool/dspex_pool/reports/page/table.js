// The table of rows, a page at a time, each row to be opened.

const PAGE = 50;

const count = make("p", "count");
count.setAttribute("role", "status");
const body = make("tbody");
const pager = make("nav", "pager");
pager.setAttribute("aria-label", "Pages of rows");
const heads = plan.columns.map(head);

function head(column, n) {
  const button = make("button", "", words(column.label));
  button.type = "button";
  button.addEventListener("click", () => {
    order.descending = order.column === n ? !order.descending : false;
    order.column = n;
    for (const [at, cell] of heads.entries()) {
      cell.setAttribute("aria-sort", at !== n ? "none" : order.descending ? "descending" : "ascending");
    }
    choose();
  });
  const made = make("th", column.kind, button);
  made.scope = "col";
  made.setAttribute("aria-sort", "none");
  return made;
}

function cell(row, column) {
  const value = reach(row, column.at);
  const made = make("td", column.kind);
  if (isNumeric(column)) {
    const known = number(value);
    made.append(known !== null ? figure(known, column.kind) : isMap(value) ? full(value) : "\u2013");
    if (known !== null && column.kind === "score" && plan.unit) made.append(bar(known));
  } else {
    const text = make("span", "clip", words(preview(value)));
    text.dir = "auto";
    made.append(text);
  }
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

function bar(value) {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("class", "bar");
  drawing.setAttribute("viewBox", "0 0 40 4");
  drawing.setAttribute("aria-hidden", "true");
  for (const [look, width] of [["track", 40], ["filled", 40 * Math.min(1, Math.max(0, value))]]) {
    const part = document.createElementNS(SVG, "rect");
    part.setAttribute("class", look);
    part.setAttribute("width", String(width));
    part.setAttribute("height", "4");
    part.setAttribute("rx", "2");
    drawing.append(part);
  }
  return drawing;
}

function line(at) {
  const row = rows[at];
  const button = make("button", "open", "");
  button.type = "button";
  button.setAttribute("aria-label", `details of row ${at + 1}`);
  const made = make("tr", "row", make("td", "opener", button), ...plan.columns.map((column) => cell(row, column)));
  const more = make("tr", "details");
  const turn = (isOpen) => {
    button.setAttribute("aria-expanded", String(isOpen));
    button.textContent = isOpen ? "\u2212" : "+";
    more.hidden = !isOpen;
    if (isOpen) opened.add(at);
    else opened.delete(at);
    if (isOpen && !more.firstChild) more.append(details(row));
  };
  made.addEventListener("click", () => {
    if (String(document.getSelection())) return; // somebody marks a text to copy it
    turn(more.hidden);
  });
  turn(opened.has(at));
  return [made, more];
}

function details(row) {
  const made = make("td");
  made.colSpan = plan.columns.length + 1;
  const inside = make("div", "inside");
  made.append(inside);
  for (const group of plan.details) {
    const cells = group.cells.map(({ name, at }) => [name, reach(row, at)]);
    if (cells.every(([, value]) => value === undefined || value === null)) continue;
    const sides = make("div", cells.length > 1 ? "sides" : "");
    for (const [name, value] of cells) {
      const title = cells.length > 1 ? [make("h4", "", words(name))] : [];
      sides.append(make("div", "", ...title, group.compact ? compact(value) : full(value)));
    }
    inside.append(make("section", "", make("h3", "", words(group.title)), sides));
  }
  return made;
}

function step(label, to, isPossible) {
  const made = make("button", "", label);
  made.type = "button";
  made.disabled = !isPossible;
  made.addEventListener("click", () => {
    page = to;
    show();
    const again = [...pager.querySelectorAll("button")].find((button) => button.textContent === label);
    (again.disabled ? pager.querySelector("button:not(:disabled)") : again)?.focus();
  });
  return made;
}

function show() {
  const pages = Math.max(1, Math.ceil(chosen.length / PAGE));
  const from = page * PAGE;
  body.replaceChildren(...chosen.slice(from, from + PAGE).flatMap(line));
  const total = rows.length.toLocaleString("en");
  count.textContent = `${chosen.length.toLocaleString("en")} of ${total} ${plan.noun}`;
  pager.replaceChildren(
    step("Previous", page - 1, page > 0),
    make("span", "", `page ${page + 1} of ${pages}`),
    step("Next", page + 1, page + 1 < pages),
  );
}

const opener = make("th", "opener", make("span", "unseen", "Details"));
opener.scope = "col";
const table = make("table", "rows", make("thead", "", make("tr", "", opener, ...heads)), body);
const scroll = make("div", "scroll", table);
scroll.tabIndex = 0;
scroll.setAttribute("role", "region");
scroll.setAttribute("aria-label", `Table of ${plan.noun}`);
document.getElementById("browser").replaceChildren(controls(), count, scroll, pager);
show();
