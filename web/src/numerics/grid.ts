/** Tiles of a volume: where they start and how they are weighted (`score_jax.arrays.grid`). */

import { roundEven, size } from "./volume";

/** Starts of the tiles along one axis, evenly spread, first at 0 and last at the end. */
export function tileStarts(length: number, tile: number, step: number): number[] {
  const count = Math.ceil((length - tile) / (tile * step)) + 1;
  const distance = count > 1 ? (length - tile) / (count - 1) : 0;
  return Array.from({ length: count }, (_, i) => roundEven(distance * i));
}

/** Weights of a tile's voxels, float32: the response of a Gaussian filter to a point in the middle. */
export function gaussianWindow(tile: readonly number[], sigma = 1 / 8, peak = 10): Float32Array {
  const lines = tile.map((n) => gaussianLine(n, n * sigma));
  let window = Float32Array.of(1);
  for (const line of lines) {
    const next = new Float32Array(window.length * line.length);
    window.forEach((before, i) => line.forEach((w, j) => (next[i * line.length + j] = before * w)));
    window = next;
  }
  const most = Math.fround(window.reduce((a, b) => Math.max(a, b), 0) / peak);
  let least = Infinity;
  for (let i = 0; i < size(tile); i++) {
    window[i] = window[i] / most;
    if (window[i] > 0 && window[i] < least) least = window[i];
  }
  for (let i = 0; i < window.length; i++) if (window[i] === 0) window[i] = least;
  return window;
}

/** scipy's `gaussian_filter1d` (truncated at 4 sigma) of a point at `n // 2`, zeros beyond. */
function gaussianLine(n: number, sigma: number): Float64Array {
  const weights = gaussianKernel(sigma);
  const radius = (weights.length - 1) / 2;
  const middle = Math.floor(n / 2);
  return Float64Array.from({ length: n }, (_, i) =>
    Math.abs(i - middle) <= radius ? weights[i - middle + radius] : 0,
  );
}

/** Weights of scipy's Gaussian filter, which sum to 1. */
export function gaussianKernel(sigma: number): Float64Array {
  const radius = Math.floor(4 * sigma + 0.5);
  const weights = Float64Array.from({ length: 2 * radius + 1 }, (_, i) =>
    Math.exp((-0.5 / (sigma * sigma)) * (i - radius) ** 2),
  );
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((w) => w / total);
}
