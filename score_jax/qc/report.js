"use strict";
// One scan is shown at a time: only its two pictures, and those of the next scan, are loaded.
const report = JSON.parse(document.getElementById("data").textContent);
const scans = report.scans;
const known = new Map(scans.map((scan, index) => [scan.id, index]));
const at = (id) => document.getElementById(id);
const kept = "score-jax qc " + report.key;
const COLUMNS = ["scan", "rating", "comment", "rater", "time"];
const RATINGS = ["pass", "fail", "artefact"];
let ratings = { ...report.ratings };
let shown = []; // indices of the scans that the filter lets through
let current = -1; // index of the scan shown, -1: none

function remember() {
  try {
    localStorage.setItem(kept, JSON.stringify(ratings));
  } catch {
    say("This browser keeps nothing for pages opened from a file: export before you close it.");
  }
}

function recall() {
  try {
    const found = JSON.parse(localStorage.getItem(kept) || "{}");
    for (const [id, rating] of Object.entries(found)) if (known.has(id)) take(id, rating);
  } catch {
    // nothing was kept, or it cannot be read
  }
}

// Of two ratings of one scan the later one counts.
function take(id, rating) {
  const before = ratings[id];
  if (!before || (rating.time || "") >= (before.time || "")) ratings[id] = rating;
}

function say(text) {
  at("message").textContent = text;
}

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function buildList() {
  const list = document.createDocumentFragment();
  for (const [index, scan] of scans.entries()) {
    const item = element("li");
    const button = element("button", undefined, { type: "button" });
    button.append(element("span", "", { class: "rated" }), element("span", scan.id));
    const kinds = [...new Set(scan.flags.map((flag) => flag.kind))];
    if (kinds.length) button.append(element("small", kinds.join(", ")));
    button.addEventListener("click", () => show(index));
    item.append(button);
    list.append(item);
  }
  at("list").append(list);
}

function row(index) {
  return at("list").children[index];
}

function lets(scan) {
  const filter = at("filter").value;
  const rating = ratings[scan.id]?.rating || "";
  if (!scan.id.toLowerCase().includes(at("find").value.trim().toLowerCase())) return false;
  if (filter === "all") return true;
  if (filter === "flagged") return scan.flags.length > 0;
  if (filter === "unrated") return !rating;
  return rating === filter;
}

function filter() {
  shown = [];
  for (const [index, scan] of scans.entries()) {
    const yes = lets(scan);
    row(index).hidden = !yes;
    if (yes) shown.push(index);
  }
  if (!shown.includes(current)) show(shown.length ? shown[0] : -1);
  count();
}

function count() {
  const rated = scans.filter((scan) => ratings[scan.id]?.rating).length;
  const flagged = scans.filter((scan) => scan.flags.length).length;
  at("counts").textContent =
    `${scans.length} scans, ${flagged} flagged, ${rated} rated, ${shown.length} shown`;
}

function mark(index) {
  row(index).querySelector(".rated").textContent = ratings[scans[index].id]?.rating || "";
}

function show(index) {
  if (current >= 0) row(current).firstChild.removeAttribute("aria-current");
  current = index;
  at("case").hidden = index < 0;
  if (index < 0) return;
  const scan = scans[index];
  row(index).firstChild.setAttribute("aria-current", "true");
  row(index).scrollIntoView({ block: "nearest" });
  at("name").textContent = scan.id + (scan.seconds ? ` · ${scan.seconds.toFixed(1)} s` : "");
  at("flags").replaceChildren(
    ...scan.flags.map((flag) => element("li", `${flag.kind}: ${flag.text}`)));
  pictures(scan);
  const next = shown[shown.indexOf(index) + 1];
  if (next !== undefined) for (const name of ["image", "contours"]) preload(scans[next][name]);
  profile(scan);
  tables(scan);
  rated();
}

function preload(path) {
  if (path) new Image().src = path;
}

function pictures(scan) {
  at("views").className = scan.image ? "" : "empty";
  for (const name of ["image", "contours"]) {
    if (scan[name]) at(name).src = scan[name];
    else at(name).removeAttribute("src");
  }
  at("image").alt = scan.image
    ? `${scan.id}: sagittal view on the left; axial slices ${scan.slices.join(", ")} from the head down`
    : "";
  const names = scan.regions.map((name, number) => {
    const mm3 = scan.volumes[name];
    return element("span", `■ ${name} ${mm3 === undefined ? "" : mm3.toFixed(0) + " mm³"}  `,
      { class: "c" + (number % 8) });
  });
  const slices = scan.slices.length ? `axial slices ${scan.slices.join(", ")}; right is on the left` : "";
  at("legend").replaceChildren(...names, element("span", slices));
}

function svg(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function profile(scan) {
  const [width, height, left, bottom] = [420, 160, 34, 18];
  const values = Object.values(scan.areas).flat().filter((v) => v !== null);
  const parts = [];
  if (values.length) {
    const top = Math.max(...values) * 1.05 || 1;
    const many = Math.max(...Object.values(scan.areas).map((a) => a.length));
    const x = (z) => left + (width - left - 8) * (many > 1 ? z / (many - 1) : 0.5);
    const y = (mm2) => 6 + (height - bottom - 6) * (1 - mm2 / top);
    for (const share of [0, 0.5, 1]) {
      const level = (top / 1.05) * share;
      parts.push(svg("line", { x1: left, x2: width - 8, y1: y(level), y2: y(level) }));
      parts.push(svg("text", { x: 2, y: y(level) + 4 }, level.toFixed(0)));
    }
    parts.push(svg("text", { x: left, y: height - 4 }, "0"));
    parts.push(svg("text", { x: width - 30, y: height - 4 }, String(many - 1)));
    for (const [name, area] of Object.entries(scan.areas)) {
      let path = "";
      area.forEach((mm2, z) => {
        if (mm2 === null) return;
        const begins = z === 0 || area[z - 1] === null;
        path += `${begins ? "M" : "L"}${x(z).toFixed(1)} ${y(mm2).toFixed(1)}`;
        // a slice between two empty ones is a dot
        if (begins && (z + 1 === area.length || area[z + 1] === null)) path += "h2";
      });
      parts.push(svg("path", { d: path, class: "c" + (Math.max(0, scan.regions.indexOf(name)) % 8) }));
    }
  }
  at("profile").replaceChildren(...parts);
}

function tables(scan) {
  at("tables").replaceChildren();
  if (!scan.lesions) return;
  const made = element("table");
  made.append(element("caption", scan.lesions.length ? "lesions" : "no lesion"));
  if (scan.lesions.length) {
    const names = Object.keys(scan.lesions[0]);
    const head = element("tr");
    head.append(...names.map((name) => element("th", name, { scope: "col" })));
    made.append(head);
    for (const lesion of scan.lesions) {
      const line = element("tr");
      line.append(...names.map((name) => element("td", cell(lesion[name]))));
      made.append(line);
    }
  }
  at("tables").append(made);
}

function cell(value) {
  if (value === null || value === undefined) return "n/a";
  return typeof value === "number" && !Number.isInteger(value) ? value.toPrecision(3) : String(value);
}

function rated() {
  const rating = ratings[scans[current].id] || {};
  for (const button of document.querySelectorAll("[data-rating]"))
    button.setAttribute("aria-pressed", String(button.dataset.rating === rating.rating));
  at("comment").value = rating.comment || "";
}

function rate(change) {
  if (current < 0) return;
  const id = scans[current].id;
  const rating = { rating: "", comment: "", ...ratings[id], ...change };
  rating.rater = at("rater").value.trim();
  rating.time = new Date().toISOString();
  ratings[id] = rating;
  remember();
  mark(current);
  rated();
  count();
}

function step(by) {
  const place = shown.indexOf(current) + by;
  if (place >= 0 && place < shown.length) show(shown[place]);
}

function nextUnrated() {
  const rest = [...shown.slice(shown.indexOf(current) + 1), ...shown];
  const found = rest.find((index) => !ratings[scans[index].id]?.rating);
  if (found !== undefined) show(found);
}

const plain = (text) => String(text ?? "").replace(/\s+/g, " ").trim();

function asTable() {
  const lines = scans
    .filter((scan) => ratings[scan.id]?.rating || ratings[scan.id]?.comment)
    .map((scan) => [scan.id, ...COLUMNS.slice(1).map((name) => plain(ratings[scan.id][name]) || "n/a")]);
  return [COLUMNS, ...lines].map((line) => line.join("\t") + "\n").join("");
}

function exported() {
  const link = element("a", "", { download: "ratings.tsv" });
  link.href = URL.createObjectURL(new Blob([asTable()], { type: "text/tab-separated-values" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function imported(text) {
  const lines = text.replace(/^\uFEFF/, "").split(/\r?\n/).filter((line) => line.trim());
  const names = (lines.shift() || "").split("\t");
  if (!names.includes("scan") || !names.includes("rating"))
    return say(`Not a table of ratings: got the columns ${names.join(", ")}; expected ${COLUMNS.join(", ")}.`);
  let taken = 0, unknown = 0, wrong = 0;
  for (const line of lines) {
    const cells = line.split("\t");
    const found = Object.fromEntries(names.map((name, n) => [name, cells[n] === "n/a" ? "" : cells[n] || ""]));
    if (!known.has(found.scan)) unknown += 1;
    else if (found.rating && !RATINGS.includes(found.rating)) wrong += 1;
    else {
      take(found.scan, { rating: found.rating, comment: found.comment || "", rater: found.rater || "", time: found.time || "" });
      taken += 1;
    }
  }
  remember();
  scans.forEach((_, index) => mark(index));
  filter();
  if (current >= 0) rated();
  say(`${taken} ratings read` + (unknown ? `, ${unknown} of scans that are not here` : "") +
    (wrong ? `, ${wrong} that are neither pass, fail nor artefact` : "") + ".");
}

const KEYS = {
  ArrowRight: () => step(1), j: () => step(1), n: () => step(1),
  ArrowLeft: () => step(-1), k: () => step(-1), p: () => step(-1),
  u: nextUnrated,
  o: () => at("contours").classList.toggle("hidden"),
  1: () => rate({ rating: "pass" }), 2: () => rate({ rating: "fail" }),
  3: () => rate({ rating: "artefact" }), 0: () => rate({ rating: "" }),
  c: () => at("comment").focus(),
};

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") return void document.activeElement?.blur();
  const typing = event.target.matches?.("input, select, textarea");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const does = Object.hasOwn(KEYS, event.key) ? KEYS[event.key] : undefined;
  if (does) {
    event.preventDefault();
    does();
  }
});
for (const button of document.querySelectorAll("[data-rating]"))
  button.addEventListener("click", () => {
    const same = ratings[scans[current].id]?.rating === button.dataset.rating;
    rate({ rating: same ? "" : button.dataset.rating });
  });
at("comment").addEventListener("change", () => rate({ comment: plain(at("comment").value) }));
at("filter").addEventListener("change", filter);
at("find").addEventListener("input", filter);
at("export").addEventListener("click", exported);
at("import").addEventListener("click", () => at("file").click());
at("file").addEventListener("change", async () => {
  const [file] = at("file").files;
  if (file) imported(await file.text());
  at("file").value = "";
});
buildList();
recall();
scans.forEach((_, index) => mark(index));
filter();
