/**
 * Splines along a line as matrices: what makes `new` samples out of `old`, edges repeated.
 *
 * The same numbers as `scipy.ndimage.zoom(mode="nearest", grid_mode=True)`, which
 * `score_jax.arrays.resampling.spline_matrix` is made of: the line is padded by 12 repeated samples,
 * filtered with reflecting ends (Thévenaz et al. 2000) and read at half-pixel centres. Only order 1
 * keeps the places within the line; a cubic spline swings a little beyond its ends.
 */

const NOTHING = 1e-9; // weights below it are left out
const PAD = 12;

/** One row of the matrix: weights of the samples from `first` on. */
export interface Row {
  first: number;
  weights: Float64Array;
}

/** A matrix of `count` rows. Order 1 or 3. */
export function splineMatrix(old: number, count: number, order: number): Row[] {
  if (order !== 1 && order !== 3) throw new Error(`spline order ${order}: expected 1 or 3`);
  const places = positions(old, count);
  return order === 1 ? places.map((at) => linearRow(at, old)) : cubicRows(places, old);
}

/** Which of `old` samples each of `count` takes, the later of two as near. */
export function nearest(old: number, count: number): Int32Array {
  return Int32Array.from({ length: count }, (_, i) => {
    const at = Math.floor((old / count) * (i + 0.5) - 0.5 + 0.5);
    return Math.min(Math.max(at, 0), old - 1);
  });
}

function positions(old: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => (i + 0.5) * (old / count) - 0.5);
}

function linearRow(place: number, old: number): Row {
  const at = Math.min(Math.max(place, 0), old - 1);
  const low = Math.floor(at);
  const share = at - low;
  if (share === 0 || low + 1 >= old) return { first: low, weights: Float64Array.of(1) };
  return { first: low, weights: Float64Array.of(1 - share, share) };
}

function cubicRows(places: number[], old: number): Row[] {
  const columns = Array.from({ length: old }, (_, i) => filtered(i, old));
  return places.map((at) => {
    const place = at + PAD;
    const low = Math.floor(place);
    const t = place - low;
    const near = [
      (1 - t) ** 3 / 6,
      (4 - 6 * t * t + 3 * t ** 3) / 6,
      (4 - 6 * (1 - t) ** 2 + 3 * (1 - t) ** 3) / 6,
      t ** 3 / 6,
    ];
    const weights = columns.map((column) =>
      near.reduce((sum, weight, i) => sum + weight * column[low - 1 + i], 0),
    );
    return trimmed(weights);
  });
}

/** B-spline coefficients of the padded line that is 1 at sample `i` and 0 elsewhere. */
function filtered(i: number, old: number): Float64Array {
  const n = old + 2 * PAD;
  const line = new Float64Array(n);
  if (i === 0) line.fill(1, 0, PAD);
  if (i === old - 1) line.fill(1, n - PAD);
  line[i + PAD] = 1;
  const pole = Math.sqrt(3) - 2;
  const gain = (1 - pole) * (1 - 1 / pole);
  for (let k = 0; k < n; k++) line[k] *= gain;
  const far = pole ** n;
  const begin = line[0];
  let power = pole;
  let sum = begin + far * line[n - 1];
  for (let k = 1; k < n; k++) {
    sum += power * (line[k] + far * line[n - 1 - k]);
    power *= pole;
  }
  line[0] = begin + (sum * pole) / (1 - far * far);
  for (let k = 1; k < n; k++) line[k] += pole * line[k - 1];
  line[n - 1] *= pole / (pole - 1);
  for (let k = n - 2; k >= 0; k--) line[k] = pole * (line[k + 1] - line[k]);
  return line;
}

function trimmed(weights: number[]): Row {
  const kept = weights.map((w) => (Math.abs(w) > NOTHING ? w : 0));
  let first = 0;
  let stop = kept.length;
  while (first < stop && kept[first] === 0) first++;
  while (stop > first && kept[stop - 1] === 0) stop--;
  return { first, weights: Float64Array.from(kept.slice(first, stop)) };
}
