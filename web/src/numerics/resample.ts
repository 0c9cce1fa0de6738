/** Resampling between voxel grids by nnU-Net's rules (`score_jax.arrays.resampling`). */

import { nearest, splineMatrix } from "./spline";
import { emptyLike, roundEven, size, type Shape, type Volume } from "./volume";

const ANISOTROPY = 3; // ratio of spacings above which the coarse axis is resampled on its own
const BLOCK = 4096; // numbers in double precision held at a time

export type Spacing = readonly [number, number, number];

/** Voxels along each axis after resampling, at least 1; a target of 0 keeps the axis. */
export function resampledShape(shape: Shape, spacing: Spacing, target: Spacing): Shape {
  const [x, y, z] = shape.map((n, i) =>
    target[i] === 0 ? n : Math.max(1, roundEven((spacing[i] / target[i]) * n)),
  );
  return [x, y, z];
}

/** The axis resampled on its own: the coarsest of the first anisotropic spacing, or null. */
export function coarseAxis(current: Spacing, next: Spacing): number | null {
  for (const spacing of [current, next]) {
    const most = Math.max(...spacing);
    if (most / Math.min(...spacing) > ANISOTROPY) {
      const axes = [0, 1, 2].filter((axis) => spacing[axis] === most);
      return axes.length === 1 ? axes[0] : null;
    }
  }
  return null;
}

/**
 * `image` on a grid of `shape` voxels over the same extent.
 *
 * With an axis that is `separate`, the planes across it come first, then nearest neighbours along it.
 */
export function resample(
  image: Volume, shape: Shape, order: number, separate: number | null,
): Volume {
  if (shape.every((n, axis) => n === image.shape[axis])) return image;
  const axes = [0, 1, 2].filter((axis) => axis !== separate);
  const out = along(image, shape, axes, order);
  return separate === null ? out : along(out, shape, [separate], 0);
}

function along(image: Volume, shape: Shape, axes: number[], order: number): Volume {
  let out = image;
  // axes that shrink come first: fewer voxels are left for the others
  const ratio = (axis: number) => shape[axis] / image.shape[axis];
  for (const axis of [...axes].sort((a, b) => ratio(a) - ratio(b))) {
    if (out.shape[axis] !== shape[axis]) out = alongOne(out, axis, shape[axis], order);
  }
  if (order > 1 && out !== image) keepWithin(out, image, axes);
  return out;
}

function alongOne(image: Volume, axis: number, count: number, order: number): Volume {
  const old = image.shape[axis];
  const outer = size(image.shape.slice(0, axis));
  const inner = size(image.shape.slice(axis + 1));
  const shape = image.shape.map((n, i) => (i === axis ? count : n)) as unknown as Shape;
  const data = emptyLike(image.data, outer * count * inner);
  if (order === 0) {
    const from = nearest(old, count);
    for (let o = 0; o < outer; o++) {
      for (let i = 0; i < count; i++) {
        const start = (o * old + from[i]) * inner;
        data.set(image.data.subarray(start, start + inner), (o * count + i) * inner);
      }
    }
    return { data, shape };
  }
  const rows = splineMatrix(old, count, order);
  const sums = new Float64Array(Math.min(BLOCK, inner));
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < count; i++) {
      const { first, weights } = rows[i];
      for (let start = 0; start < inner; start += BLOCK) {
        const width = Math.min(BLOCK, inner - start);
        sums.fill(0, 0, width);
        for (let k = 0; k < weights.length; k++) {
          const weight = weights[k];
          const from = (o * old + first + k) * inner + start;
          for (let j = 0; j < width; j++) sums[j] += weight * image.data[from + j];
        }
        const to = (o * count + i) * inner + start;
        for (let j = 0; j < width; j++) data[to + j] = sums[j];
      }
    }
  }
  return { data, shape };
}

/** Values kept within the range of what was resampled at once: the volume, or each plane of it. */
function keepWithin(out: Volume, image: Volume, axes: number[]): void {
  const apart = [0, 1, 2].find((axis) => !axes.includes(axis));
  const planes = apart === undefined ? 1 : image.shape[apart];
  const low = new Float64Array(planes).fill(Infinity);
  const high = new Float64Array(planes).fill(-Infinity);
  const planeOf = (shape: Shape) => {
    if (apart === undefined) return () => 0;
    const inner = size(shape.slice(apart + 1));
    return (index: number) => Math.floor(index / inner) % planes;
  };
  const before = planeOf(image.shape);
  image.data.forEach((value, index) => {
    const plane = before(index);
    if (value < low[plane]) low[plane] = value;
    if (value > high[plane]) high[plane] = value;
  });
  const after = planeOf(out.shape);
  for (let index = 0; index < out.data.length; index++) {
    const plane = after(index);
    const value = out.data[index];
    if (value < low[plane]) out.data[index] = low[plane];
    else if (value > high[plane]) out.data[index] = high[plane];
  }
}
