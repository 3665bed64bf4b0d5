// Whatever is here is on the page without this script, too; it makes tables, figures and commands handier.
"use strict";
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
const make = (name, values = {}, ...inside) => {
  const element = Object.assign(document.createElement(name), values);
  element.append(...inside);
  return element;
};
const drawn = (name, values, ...inside) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(values)) element.setAttribute(key, value);
  element.append(...inside);
  return element;
};
const short = (value) => (typeof value === "number" ? String(Number(value.toPrecision(4))) : value);

// ---- losses: highlighted where a name of the key is pointed at, hidden where it is pressed
const losses = new Map(all(".side .key li").map((item) => [Number(item.dataset.key), item.textContent.trim()]));
const hidden = new Set();
const rules = document.head.appendChild(make("style"));
const restyle = (focused = null) => {
  const rule = (number) => `svg [data-loss="${number}"] { display: none; }`;
  const others = `svg [data-loss]:not([data-loss="${focused}"]) { opacity: .12; }`;
  rules.textContent = [...hidden].map(rule).join("\n") + (focused === null ? "" : others);
};
for (const item of all(".key li")) {
  const number = Number(item.dataset.key);
  const button = make("button", { type: "button", title: "Show or hide this loss in all figures" }, ...item.childNodes);
  button.setAttribute("aria-pressed", "true");
  button.addEventListener("click", () => {
    if (!hidden.delete(number)) hidden.add(number);
    for (const other of all(`.key li[data-key="${number}"] button`)) other.setAttribute("aria-pressed", !hidden.has(number));
    restyle();
  });
  for (const event of ["pointerenter", "focus"]) button.addEventListener(event, () => restyle(number));
  for (const event of ["pointerleave", "blur"]) button.addEventListener(event, () => restyle());
  item.replaceChildren(button);
}

// ---- figures: the value at the nearest mark, by pointer or arrow keys
for (const drawing of all(".drawing")) {
  const marks = new Map();
  for (const svg of all("svg[data-points]", drawing)) {
    const words = ([number, , , x, y], [across, up]) =>
      y === undefined ? x : `${losses.get(number)}: ${up} ${short(y)} at ${across} ${short(x)}`;
    const panels = JSON.parse(svg.dataset.points);
    marks.set(svg, panels.flatMap(({ axes, marks }) => marks.map((mark) => ({ loss: mark[0], x: mark[1], y: mark[2], text: words(mark, axes) }))));
  }
  if (!marks.size) continue;
  const output = make("output", { className: "reading" });
  const ring = drawn("circle", { r: 4.5, class: "ring" });
  drawing.after(output);
  let place = -1;
  const shown = () => [...marks.keys()].find((svg) => svg.getBoundingClientRect().width > 0);
  const show = (svg, mark) => {
    output.textContent = mark.text;
    ring.setAttribute("cx", mark.x);
    ring.setAttribute("cy", mark.y);
    svg.append(ring);
  };
  drawing.addEventListener("pointermove", read);
  drawing.addEventListener("pointerdown", read);
  drawing.addEventListener("pointerleave", () => ring.remove());
  function read(event) {
    const svg = shown();
    if (!svg) return;
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const open = marks.get(svg).filter((mark) => !hidden.has(mark.loss));
    const far = (mark) => (mark.x - at.x) ** 2 + (mark.y - at.y) ** 2;
    const nearest = open.reduce((best, mark) => (best && far(best) <= far(mark) ? best : mark), null);
    if (nearest && far(nearest) < 900) show(svg, nearest);
  }
  drawing.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const svg = shown();
    const open = svg && marks.get(svg).filter((mark) => !hidden.has(mark.loss));
    if (!step || !open || !open.length) return;
    event.preventDefault();
    place = (place + step + open.length) % open.length;
    show(svg, open[place]);
  });
}

// ---- tables: sorted by a click on a heading (n/a stays last), and filtered by words
const filters = new Map(); // table -> functions that say whether a row is shown
const filter = (table) => {
  for (const row of table.tBodies[0].rows) row.hidden = !filters.get(table).every((test) => test(row));
};
for (const table of all("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  filters.set(table, []);
  headings.forEach((heading, column) => {
    heading.firstElementChild.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const number = heading.classList.contains("number");
      const value = (row) => row.cells[column].dataset.value;
      const compare = (a, b) => {
        if (value(a) === "" || value(b) === "") return (value(a) === "") - (value(b) === "");
        const order = number ? value(a) - value(b) : value(a).localeCompare(value(b));
        return down ? -order : order;
      };
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
    });
  });
  if (table.tBodies[0].rows.length <= 8) continue;
  const words = make("input", { type: "search", placeholder: "filter rows" });
  words.setAttribute("aria-label", "Filter the rows of this table");
  words.addEventListener("input", () => filter(table));
  const wanted = (row) => words.value.toLowerCase().split(/\s+/).every((word) => row.textContent.toLowerCase().includes(word));
  filters.get(table).push(wanted);
  table.closest(".table").insertBefore(words, table.parentElement);
}

// ---- all runs: a scatter plot of two columns; a rectangle drawn in it filters the table
for (const table of all(".runs table")) {
  const headings = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
  const rows = [...table.tBodies[0].rows];
  const numbers = headings.map((_, i) => i).filter((i) => table.tHead.rows[0].cells[i].classList.contains("number"));
  if (rows.length < 2 || numbers.length < 2) continue;
  const choose = (label, chosen) => {
    const select = make("select", {}, ...numbers.map((i) => make("option", { value: i, selected: i === chosen }, headings[i])));
    select.addEventListener("change", draw);
    return [make("label", {}, `${label} `, select), select];
  };
  const svg = drawn("svg", { viewBox: "0 0 600 240", role: "img", "aria-label": "Scatter plot of all runs; draw a rectangle to filter the table" });
  const [acrossLabel, across] = choose("across", headings.indexOf("learning rate"));
  const [upLabel, up] = choose("up", numbers.find((i) => headings[i].includes("%")) ?? numbers.at(-1));
  const clear = make("button", { type: "button" }, "show all runs");
  const box = make("div", { className: "scatter" }, acrossLabel, upLabel, clear, svg);
  const frame = drawn("rect", { class: "frame" });
  let spots = [], area = null;
  const within = ({ x, y }) => !area || (x >= area[0] && x <= area[2] && y >= area[1] && y <= area[3]);
  filters.get(table).push((row) => { const spot = spots.find((each) => each.row === row); return !area || (spot && within(spot)); });
  function scale(column, from, to) {
    const values = rows.map((row) => row.cells[column].dataset.value).filter((value) => value !== "").map(Number);
    const low = Math.min(...values), high = Math.max(...values), log = low > 0 && high / low > 20;
    const f = log ? Math.log : (value) => value;
    return [(value) => from + ((f(value) - f(low)) / (f(high) - f(low) || 1)) * (to - from), low, high];
  }
  function draw() {
    area = null;
    const [x, left, right] = scale(across.value, 60, 585), [y, low, high] = scale(up.value, 205, 15);
    spots = rows.map((row) => [row, row.cells[across.value].dataset.value, row.cells[up.value].dataset.value])
      .filter(([, a, b]) => a !== "" && b !== "").map(([row, a, b]) => ({ row, x: x(a), y: y(b) }));
    const text = (words, a, b, anchor) => drawn("text", { x: a, y: b, "text-anchor": anchor }, words);
    svg.replaceChildren(frame, ...spots.map((spot) => {
      const item = document.querySelector(`.key li[data-name="${CSS.escape(spot.row.cells[0].dataset.value)}"]`);
      const number = item ? item.dataset.key : "";
      const color = item ? item.style.getPropertyValue("--own") : "var(--muted)";
      return drawn("circle", { cx: spot.x, cy: spot.y, r: 3.5, "data-loss": number, style: `fill: ${color}` }, drawn("title", {}, spot.row.textContent.replace(/\s+/g, " ").trim()));
    }), text(short(left), 60, 222, "start"), text(short(right), 585, 222, "end"), text(headings[across.value], 320, 236, "middle"),
    text(short(low), 52, 208, "end"), text(short(high), 52, 20, "end"));
    filter(table);
  }
  const at = (event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  svg.addEventListener("pointerdown", (event) => {
    const start = at(event);
    svg.setPointerCapture(event.pointerId);
    const move = (moved) => {
      const end = at(moved);
      area = [Math.min(start.x, end.x), Math.min(start.y, end.y), Math.max(start.x, end.x), Math.max(start.y, end.y)];
      for (const [key, value] of Object.entries({ x: area[0], y: area[1], width: area[2] - area[0], height: area[3] - area[1] })) frame.setAttribute(key, value);
      filter(table);
    };
    svg.addEventListener("pointermove", move);
    svg.addEventListener("pointerup", () => svg.removeEventListener("pointermove", move), { once: true });
  });
  clear.addEventListener("click", () => { frame.setAttribute("width", 0); draw(); });
  draw();
  table.closest(".table").before(box);
}

// ---- commands are copied by a button
for (const block of all("pre")) {
  const button = make("button", { type: "button", className: "copy" }, "copy");
  button.setAttribute("aria-label", "Copy these commands");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(block.textContent);
    button.textContent = "copied";
    setTimeout(() => (button.textContent = "copy"), 1500);
  });
  const around = make("div", { className: "command" });
  block.replaceWith(around);
  around.append(block, button);
}

// ---- what a link points at is opened, and what is folded belongs on paper all the same
const openTarget = () => {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  for (let fold = target && target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  if (target) target.scrollIntoView();
};
addEventListener("hashchange", openTarget);
openTarget();
for (const link of all(".menu a")) link.addEventListener("click", () => (link.closest("details").open = false));
addEventListener("beforeprint", () => {
  for (const fold of all("main details:not([open])")) {
    fold.open = true;
    fold.dataset.printed = "";
  }
});
addEventListener("afterprint", () => {
  for (const fold of all("details[data-printed]")) {
    fold.open = false;
    delete fold.dataset.printed;
  }
});

// ---- a sweep under way: what was opened stays open when the page reloads
if (document.querySelector("meta[http-equiv=refresh]")) {
  const key = (fold) => fold.id || fold.querySelector("summary").textContent;
  const kept = new Set(JSON.parse(sessionStorage.getItem("open") ?? "[]"));
  for (const fold of all("details")) if (kept.has(key(fold))) fold.open = true;
  const open = () => all("details[open]").map(key);
  addEventListener("pagehide", () => sessionStorage.setItem("open", JSON.stringify(open())));
}
