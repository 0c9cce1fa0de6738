/** Numbers as HTML tables. */

import type { Measures } from "../measure/areas";

/** Volume, length and mean area of each region. */
export function summaryTable(measures: readonly Measures[]): HTMLTableElement {
  return table(
    ["Region", "Volume mm³", "Length mm", "Mean area mm²"],
    measures.map((m) => [m.name, fixed(m.volume, 1), fixed(m.length, 1), fixed(m.meanArea, 2)]));
}

/** Area and angles of each region in each slice. */
export function slicesTable(measures: readonly Measures[]): HTMLTableElement {
  return table(
    ["Region", "Slice", "Area mm²", "Length mm", "Angle AP °", "Angle RL °"],
    measures.flatMap(({ name, slices }) => slices.map((row) => [
      name, String(row.slice), fixed(row.area, 2), fixed(row.length, 3), fixed(row.angleAp, 1), fixed(row.angleRl, 1),
    ])));
}

function table(head: string[], rows: string[][]): HTMLTableElement {
  const out = document.createElement("table");
  const top = out.createTHead().insertRow();
  for (const text of head) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = text;
    top.append(cell);
  }
  const body = out.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    for (const text of row) line.insertCell().textContent = text;
  }
  return out;
}

const fixed = (value: number, digits: number): string =>
  Number.isFinite(value) ? value.toFixed(digits) : "n/a";
