/** A network over an image larger than its window: overlapping tiles (`score_jax.inference.tiling`). */

import { gaussianWindow, tileStarts } from "./grid";
import { size, type Shape, type Volume } from "./volume";

/** `(channels, *tile)` to `(outputs, *tile)`, each in one piece. */
export type Network = (tile: Float32Array) => Promise<Float32Array>;
export type Progress = (done: number, total: number) => void;

/**
 * Logits of every voxel, one volume an output.
 *
 * A network that sees slices is asked slice by slice along `sliceAxis`. An image smaller than the
 * window is padded with zeros, centred.
 */
export async function tiled(
  network: Network, channels: readonly Volume[], tile: readonly number[], sliceAxis: number,
  outputs: number, step: number, progress: Progress,
): Promise<Volume[]> {
  const flat = tile.length === 2;
  const shape = channels[0].shape;
  const window = [...tile];
  if (flat) window.splice(sliceAxis, 0, 1);
  const pad = shape.map((n, axis) => Math.floor(Math.max(window[axis] - n, 0) / 2));
  const starts = shape.map((n, axis) =>
    flat && axis === sliceAxis
      ? Array.from({ length: n }, (_, i) => i)
      : tileStarts(Math.max(n, window[axis]), window[axis], step),
  );
  const weights = gaussianWindow(tile);
  const sums = Array.from({ length: outputs }, () => new Float32Array(size(shape)));
  const total = new Float32Array(size(shape));
  const places = product(starts, flat ? sliceAxis : 0);
  const input = new Float32Array(channels.length * weights.length);
  for (let number = 0; number < places.length; number++) {
    const corner = places[number].map((start, axis) => start - pad[axis]);
    take(channels, corner, window, input);
    const logits = await network(input);
    add(logits, weights, corner, window, shape, sums, total);
    progress(number + 1, places.length);
  }
  for (const sum of sums) for (let i = 0; i < sum.length; i++) sum[i] /= total[i];
  return sums.map((data) => ({ data, shape }));
}

/** How many tiles `tiled` would ask for. */
export function countTiles(shape: Shape, window: readonly number[], step: number): number {
  return shape.reduce(
    (n, length, axis) =>
      n * tileStarts(Math.max(length, window[axis]), window[axis], step).length,
    1,
  );
}

/** Every combination of starts, the axis `first` slowest. */
export function product(starts: number[][], first: number): number[][] {
  const order = [first, ...[0, 1, 2].filter((axis) => axis !== first)];
  const places: number[][] = [];
  for (const a of starts[order[0]]) {
    for (const b of starts[order[1]]) {
      for (const c of starts[order[2]]) {
        const place = [0, 0, 0];
        [a, b, c].forEach((value, i) => (place[order[i]] = value));
        places.push(place);
      }
    }
  }
  return places;
}

/** A tile of the image, zeros beyond it, into `out`. */
export function take(
  channels: readonly Volume[], corner: readonly number[], window: readonly number[], out: Float32Array,
): void {
  out.fill(0);
  const count = size(window);
  rows(corner, window, channels[0].shape, (from, to, width) => {
    channels.forEach(({ data }, c) => out.set(data.subarray(from, from + width), c * count + to));
  });
}

function add(
  logits: Float32Array, weights: Float32Array, corner: readonly number[], window: readonly number[],
  shape: Shape, sums: Float32Array[], total: Float32Array,
): void {
  const count = weights.length;
  rows(corner, window, shape, (from, to, width) => {
    for (let i = 0; i < width; i++) total[from + i] += weights[to + i];
    sums.forEach((sum, k) => {
      const start = k * count + to;
      for (let i = 0; i < width; i++) sum[from + i] += Math.fround(logits[start + i] * weights[to + i]);
    });
  });
}

/** Each row of voxels that a window at `corner` shares with the image: its places in both. */
function rows(
  corner: readonly number[], window: readonly number[], shape: Shape,
  visit: (from: number, to: number, width: number) => void,
): void {
  const low = corner.map((c) => Math.max(c, 0));
  const high = corner.map((c, axis) => Math.min(c + window[axis], shape[axis]));
  const width = high[2] - low[2];
  if (width <= 0) return;
  for (let x = low[0]; x < high[0]; x++) {
    for (let y = low[1]; y < high[1]; y++) {
      const from = (x * shape[1] + y) * shape[2] + low[2];
      const to = ((x - corner[0]) * window[1] + (y - corner[1])) * window[2] + low[2] - corner[2];
      visit(from, to, width);
    }
  }
}
