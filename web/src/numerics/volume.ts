/** Three-dimensional arrays, last axis fastest (as numpy's C order), and exact numpy rounding. */

export type Shape = readonly [number, number, number];

export interface Volume<T extends Numbers = Float32Array> {
  data: T;
  shape: Shape;
}

export type Numbers = Float32Array | Float64Array | Uint8Array | Int32Array;

/** A box: `[start, stop)` on each axis. */
export type Box = readonly [readonly [number, number], readonly [number, number], readonly [number, number]];

export const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

export const wholeBox = (shape: Shape): Box => [
  [0, shape[0]],
  [0, shape[1]],
  [0, shape[2]],
];

export const boxShape = (box: Box): Shape => [
  box[0][1] - box[0][0],
  box[1][1] - box[1][0],
  box[2][1] - box[2][0],
];

/** Round half to even, as Python's and numpy's `round`. */
export function roundEven(value: number): number {
  const low = Math.floor(value);
  const rest = value - low;
  if (rest !== 0.5) return Math.round(value);
  return low % 2 === 0 ? low : low + 1;
}

/** A new array of the same kind. */
export function emptyLike<T extends Numbers>(data: T, length: number): T {
  return new (data.constructor as new (length: number) => T)(length);
}

/** The part of a volume in a box, copied. */
export function cut<T extends Numbers>(volume: Volume<T>, box: Box): Volume<T> {
  const [, ny, nz] = volume.shape;
  const shape = boxShape(box);
  const data = emptyLike(volume.data, size(shape));
  let to = 0;
  for (let x = box[0][0]; x < box[0][1]; x++) {
    for (let y = box[1][0]; y < box[1][1]; y++) {
      const from = (x * ny + y) * nz;
      data.set(volume.data.subarray(from + box[2][0], from + box[2][1]), to);
      to += shape[2];
    }
  }
  return { data, shape };
}

/** `inner` at `box` of a volume of `shape`, `outside` elsewhere. */
export function paste<T extends Numbers>(
  inner: Volume<T>, box: Box, shape: Shape, outside: number,
): Volume<T> {
  const data = emptyLike(inner.data, size(shape));
  if (outside !== 0) data.fill(outside);
  const [, ny, nz] = shape;
  const width = inner.shape[2];
  let from = 0;
  for (let x = box[0][0]; x < box[0][1]; x++) {
    for (let y = box[1][0]; y < box[1][1]; y++) {
      data.set(inner.data.subarray(from, from + width), (x * ny + y) * nz + box[2][0]);
      from += width;
    }
  }
  return { data, shape };
}

/** Axes in another order: new axis i is old axis `axes[i]`, backwards if `flips[i]`. */
export function turn<T extends Numbers>(
  volume: Volume<T>,
  axes: readonly number[],
  flips: readonly boolean[] = [false, false, false],
): Volume<T> {
  const old = volume.shape;
  const strides = [old[1] * old[2], old[2], 1];
  const shape: Shape = [old[axes[0]], old[axes[1]], old[axes[2]]];
  const step = axes.map((axis, i) => (flips[i] ? -strides[axis] : strides[axis]));
  let start = 0;
  axes.forEach((axis, i) => {
    if (flips[i]) start += (old[axis] - 1) * strides[axis];
  });
  const data = emptyLike(volume.data, volume.data.length);
  let to = 0;
  for (let x = 0; x < shape[0]; x++) {
    for (let y = 0; y < shape[1]; y++) {
      let from = start + x * step[0] + y * step[1];
      for (let z = 0; z < shape[2]; z++, from += step[2]) data[to++] = volume.data[from];
    }
  }
  return { data, shape };
}

/** The order of axes that undoes `axes`. */
export function inverseAxes(axes: readonly number[]): [number, number, number] {
  return [axes.indexOf(0), axes.indexOf(1), axes.indexOf(2)];
}
