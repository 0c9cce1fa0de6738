/** Tables as tab-separated text. */

import type { Measures } from "./areas";

/** A row for each region and slice, with the columns of `score-jax areas`. */
export function slicesTsv(measures: readonly Measures[]): string {
  const head = ["region", "slice_IS_RPI", "MEAN(area)", "MEAN(angle_AP)", "MEAN(angle_RL)", "SUM(length)"];
  const rows = measures.flatMap(({ name, slices }) =>
    slices.map((row) => [name, row.slice, row.area, row.angleAp, row.angleRl, row.length]));
  return tsv(head, rows);
}

/** A row for each region. */
export function summaryTsv(measures: readonly Measures[]): string {
  const head = ["region", "volume_mm3", "length_mm", "mean_area_mm2"];
  return tsv(head, measures.map((m) => [m.name, m.volume, m.length, m.meanArea]));
}

/** Columns and rows as text; a missing number is n/a. */
export function tsv(head: readonly string[], rows: readonly (string | number)[][]): string {
  const cell = (value: string | number) =>
    typeof value === "number" ? (Number.isFinite(value) ? String(value) : "n/a") : value.replace(/[\t\r\n]+/g, " ");
  return [head, ...rows].map((row) => row.map(cell).join("\t") + "\n").join("");
}
