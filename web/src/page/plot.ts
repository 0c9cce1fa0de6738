/** Areas by slice as a line for each region, in SVG. */

import type { Measures } from "../measure/areas";

const [WIDTH, HEIGHT] = [640, 240];
const [LEFT, RIGHT, TOP, BOTTOM] = [52, 12, 10, 34];
const SVG = "http://www.w3.org/2000/svg";

/** The plot; nothing to draw gives a text. */
export function plot(measures: readonly Measures[], colours: readonly string[]): Element {
  const rows = measures.flatMap(({ slices }) => slices);
  if (!rows.length) {
    const text = document.createElement("p");
    text.textContent = "The masks are empty.";
    return text;
  }
  const slices = rows.map((row) => row.slice);
  const [first, last] = [Math.min(...slices), Math.max(...slices)];
  const most = Math.max(...rows.map((row) => row.area));
  const x = (slice: number) =>
    LEFT + ((slice - first) / Math.max(last - first, 1)) * (WIDTH - LEFT - RIGHT);
  const y = (area: number) => HEIGHT - BOTTOM - (area / most) * (HEIGHT - TOP - BOTTOM);
  const svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
  svg.setAttribute("aria-label", `Area by slice of ${measures.map((m) => m.name).join(", ")}`);
  for (const area of ticks(0, most)) {
    svg.append(make("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(area), y2: y(area) }));
    svg.append(label(String(area), LEFT - 6, y(area) + 4, "end"));
  }
  for (const slice of ticks(first, last).filter(Number.isInteger)) {
    svg.append(label(String(slice), x(slice), HEIGHT - BOTTOM + 16, "middle"));
  }
  svg.append(label("slice", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, "middle"));
  svg.append(label("mm²", 4, TOP + 8, "start"));
  measures.forEach((region, n) => {
    for (const part of unbroken(region)) {
      const points = part.map((row) => `${x(row.slice).toFixed(1)},${y(row.area).toFixed(1)}`).join(" ");
      svg.append(make("polyline", { points, stroke: colours[n] }));
    }
  });
  return svg;
}

/** Runs of slices without a gap. */
function unbroken({ slices }: Measures): Measures["slices"][] {
  const parts: Measures["slices"][] = [];
  slices.forEach((row, i) => {
    if (i > 0 && row.slice === slices[i - 1].slice + 1) parts[parts.length - 1].push(row);
    else parts.push([row]);
  });
  return parts;
}

/** Round numbers from low to high, about five. */
function ticks(low: number, high: number): number[] {
  const rough = (high - low || 1) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough) as number;
  const out: number[] = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) out.push(Number((k * step).toPrecision(12)));
  return out;
}

function label(text: string, x: number, y: number, anchor: string): Element {
  const element = make("text", { x, y, "text-anchor": anchor });
  element.textContent = text;
  return element;
}

function make(name: string, attributes: Record<string, string | number>): Element {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  return element;
}
