/** Region masks, label maps and the rules that clean them (`score_jax.arrays.regions`, `cleaning`). */

import type { Region, Rule } from "../network/description";
import { components } from "./components";
import { type Shape } from "./volume";

/** For each region, which regions lie in it by their labels: itself, and those nested in it. */
export function contents(regions: readonly Region[]): number[][] {
  return regions.map((outer) =>
    regions.flatMap((inner, n) =>
      inner.labels.every((label) => outer.labels.includes(label)) ? [n] : [],
    ),
  );
}

/**
 * One mask a region from logits, one array a channel.
 *
 * Sigmoid regions: above 0. Softmax classes (`exclusive`, a background channel first): the largest
 * wins, ties to the lower one, and a region holds the classes of those inside it.
 */
export function masksFromLogits(
  logits: readonly Float32Array[], regions: readonly Region[], exclusive: boolean,
): Uint8Array[] {
  if (!exclusive) return logits.map(positive);
  const winner = new Uint8Array(logits[0].length);
  for (let i = 0; i < winner.length; i++) {
    let best = 0;
    for (let k = 1; k < logits.length; k++) if (logits[k][i] > logits[best][i]) best = k;
    winner[i] = best;
  }
  return contents(regions).map((inside) =>
    winner.map((best) => (best > 0 && inside.includes(best - 1) ? 1 : 0)),
  );
}

function positive(channel: Float32Array): Uint8Array {
  const mask = new Uint8Array(channel.length);
  for (let i = 0; i < mask.length; i++) if (channel[i] > 0) mask[i] = 1;
  return mask;
}

/** The label map of masks: in order, later regions overwrite earlier ones. */
export function labelsFromMasks(
  masks: readonly Uint8Array[], regions: readonly Region[],
): Uint8Array {
  const labels = new Uint8Array(masks[0].length);
  masks.forEach((mask, n) => {
    for (let i = 0; i < mask.length; i++) if (mask[i]) labels[i] = regions[n].value;
  });
  return labels;
}

/** `masks` after `rules`, one after another; empty masks and no rules change nothing. */
export function clean(
  masks: readonly Uint8Array[],
  shape: Shape,
  regions: readonly Region[],
  rules: readonly Rule[],
  voxelMm3: number,
): Uint8Array[] {
  const inside = contents(regions);
  const numberOf = (name: string) => regions.findIndex((region) => region.name === name);
  let out = masks.map((mask) => mask.slice());
  for (const rule of rules) {
    if (rule.kind === "largest") {
      const values = rule.regions.flatMap((name) => inside[numberOf(name)].map((n) => regions[n].value));
      const labels = labelsFromMasks(out, regions);
      const gone = allButLargest(labels, shape, values);
      out = out.map((mask) => mask.map((value, i) => (gone[i] ? 0 : value)));
    } else {
      const n = numberOf(rule.regions[0]);
      const least = Math.ceil(rule.min_mm3 / voxelMm3 - 1e-6); // headers round voxel sizes
      const found = components({ data: out[n], shape });
      out[n] = out[n].map((value, i) => (value && found.sizes[found.labels[i] - 1] >= least ? 1 : 0));
    }
  }
  return out;
}

/** Where the joined `values` of a label map are not its largest component; equal ones all stay. */
function allButLargest(labels: Uint8Array, shape: Shape, values: number[]): Uint8Array {
  const joined = labels.map((value) => (values.includes(value) ? 1 : 0));
  const found = components({ data: joined, shape });
  const most = found.sizes.reduce((a, b) => Math.max(a, b), 0);
  return joined.map((value, i) => (value && found.sizes[found.labels[i] - 1] < most ? 1 : 0));
}
