/** Intensities of one image: normalisation and high-pass channels (`score_jax.arrays.intensity`). */

import { gaussianKernel } from "./grid";
import { size, type Volume } from "./volume";

const LEAST = 1e-8; // nothing is divided by less

/** Mean 0 and deviation 1 over the image, or over `mask` with 0 outside it. */
export function zscore(data: Float32Array, mask: Uint8Array | null): Float32Array {
  let count = 0;
  let sum = 0;
  for (let i = 0; i < data.length; i++) {
    if (mask === null || mask[i]) {
      sum += data[i];
      count++;
    }
  }
  const mean = count ? sum / count : 0;
  let spread = 0;
  for (let i = 0; i < data.length; i++) {
    if (mask === null || mask[i]) spread += (data[i] - mean) ** 2;
  }
  const std = Math.max(count ? Math.sqrt(spread / count) : 0, LEAST);
  const [middle, unit] = [Math.fround(mean), Math.fround(std)];
  const out = new Float32Array(data.length);
  for (let i = 0; i < data.length; i++) {
    if (mask === null || mask[i]) out[i] = Math.fround(data[i] - middle) / unit;
  }
  return out;
}

/** Values from 0 to 1; a constant image gives zeros. */
export function rescale(data: Float32Array): Float32Array {
  let low = Infinity;
  let high = -Infinity;
  for (const value of data) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const span = Math.fround(Math.max(high - low, LEAST));
  return data.map((value) => Math.fround(value - low) / span);
}

/** nnU-Net's CT scheme: clip to the data set's percentiles, then its z-score. */
export function ct(data: Float32Array, statistics: readonly number[]): Float32Array {
  const [mean, std, low, high] = statistics;
  const unit = Math.max(std, LEAST);
  return data.map((value) => (Math.min(Math.max(value, low), high) - mean) / unit);
}

/** The image less its Gaussian (sigma in mm), as MD-GRU's second set of channels. */
export function highpass(image: Volume, spacing: readonly number[], sigmaMm: number): Float32Array {
  let smooth = image.data;
  spacing.forEach((mm, axis) => (smooth = smoothAlong(smooth, image.shape, axis, sigmaMm / mm)));
  return image.data.map((value, i) => value - smooth[i]);
}

function smoothAlong(
  data: Float32Array, shape: readonly number[], axis: number, sigma: number,
): Float32Array {
  const n = shape[axis];
  const inner = size(shape.slice(axis + 1));
  const outer = size(shape.slice(0, axis));
  const weights = gaussianKernel(sigma);
  const radius = (weights.length - 1) / 2;
  const mirrored = (i: number) => {
    const at = ((i % (2 * n)) + 2 * n) % (2 * n); // scipy's "reflect": the edge counts twice
    return at < n ? at : 2 * n - 1 - at;
  };
  const out = new Float32Array(data.length);
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < inner; j++) {
        let sum = 0;
        for (let k = -radius; k <= radius; k++) {
          sum += weights[k + radius] * data[(o * n + mirrored(i + k)) * inner + j];
        }
        out[(o * n + i) * inner + j] = sum;
      }
    }
  }
  return out;
}
