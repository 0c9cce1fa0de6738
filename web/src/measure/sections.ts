/** Areas of axial slices seen at a right angle to the cord (`score_jax.morphometry.section`). */

import { roundEven, type Volume } from "../numerics/volume";

const PIXEL_MM = 0.1;
const TRACE = 1e-6; // values up to here are outside
const MARGIN = 3; // voxels around the mask before it is resampled

/** A part of a slice, zero beyond it: value (i, j) is at (x + i, y + j). */
interface Piece {
  x: number;
  y: number;
  values: Float64Array[];
}

/**
 * Area in mm2 of slice `z` of a mask, or NaN if it holds none of it.
 *
 * The slice is shrunk by the cosines of its tilt, stretched to a maximum of 1 and sampled at 0.1 mm,
 * all bilinear. Axes run right to left, back to front, from below.
 */
export function areaOf(
  mask: Volume<Uint8Array>, z: number, spacing: readonly number[], tiltX: number, tiltY: number,
): number {
  const whole = pieceOf(mask, z);
  if (whole === null) return NaN;
  const [nx, ny] = mask.shape;
  let piece = shrunkX(whole, Math.cos(tiltX), nx);
  piece = flipped(shrunkX(flipped(piece), Math.cos(tiltY), ny));
  const most = Math.max(...piece.values.map((row) => Math.max(...row)));
  if (!(most > 0)) return NaN;
  const image = piece.values.map((row) => row.map((value) => value / most));
  const inX = extent(image.map((row) => row.some((value) => value > TRACE)), piece.x, nx);
  const inY = extent(Array.from(image[0], (_, j) => image.some((row) => row[j] > TRACE)), piece.y, ny);
  if (!inX || !inY) return NaN;
  const weightX = samples(inX[1] - inX[0], spacing[0]);
  const weightY = samples(inY[1] - inY[0], spacing[1]);
  let sum = 0;
  image.forEach((row, i) => {
    const a = weightX[piece.x + i - inX[0]] ?? 0;
    row.forEach((value, j) => (sum += value * a * (weightY[piece.y + j - inY[0]] ?? 0)));
  });
  return sum * PIXEL_MM ** 2;
}

/** What a slice holds, or null. */
function pieceOf(mask: Volume<Uint8Array>, z: number): Piece | null {
  const [nx, ny, nz] = mask.shape;
  const at = (x: number, y: number) => mask.data[(x * ny + y) * nz + z];
  const inside: [number, number][] = [];
  for (let x = 0; x < nx; x++) for (let y = 0; y < ny; y++) if (at(x, y)) inside.push([x, y]);
  if (!inside.length) return null;
  const lowX = inside[0][0];
  const highX = inside[inside.length - 1][0];
  let [lowY, highY] = [ny, -1];
  for (const [, y] of inside) [lowY, highY] = [Math.min(lowY, y), Math.max(highY, y)];
  const values = Array.from({ length: highX - lowX + 1 }, (_, i) =>
    Float64Array.from({ length: highY - lowY + 1 }, (_, j) => at(lowX + i, lowY + j)));
  return { x: lowX, y: lowY, values };
}

/** The piece with row i taken from i / factor of an image of `count` rows. */
function shrunkX({ x, y, values }: Piece, factor: number, count: number): Piece {
  const first = Math.max(Math.floor((x - 1) * factor), 0);
  const last = Math.min(Math.ceil((x + values.length) * factor), count - 1);
  const empty = new Float64Array(values[0].length);
  const rows: Float64Array[] = [];
  for (let i = first; i <= last; i++) {
    const low = Math.floor(i / factor);
    const share = i / factor - low;
    const before = values[low - x] ?? empty;
    const after = low + 1 < count ? values[low + 1 - x] ?? empty : empty;
    rows.push(before.map((value, j) => value * (1 - share) + after[j] * share));
  }
  return { x: first, y, values: rows.length ? rows : [empty] };
}

function flipped({ x, y, values }: Piece): Piece {
  const turned = Array.from(values[0], (_, j) => Float64Array.from(values, (row) => row[j]));
  return { x: y, y: x, values: turned };
}

/** First and beyond the last place that is occupied, with a margin, within `count`. */
function extent(occupied: boolean[], start: number, count: number): [number, number] | null {
  const first = occupied.indexOf(true);
  if (first < 0) return null;
  const last = occupied.lastIndexOf(true);
  return [Math.max(start + first - MARGIN, 0), Math.min(start + last + 1 + MARGIN, count)];
}

/** How many fine pixels each of `count` coarse ones of `side` mm is worth, zeros beyond them. */
function samples(count: number, side: number): Float64Array {
  const wanted = roundEven((count * side) / PIXEL_MM);
  const weights = new Float64Array(count);
  for (let i = 0; i < wanted; i++) {
    const at = ((i + 0.5) * count) / wanted - 0.5;
    const low = Math.floor(at);
    if (low >= 0) weights[low] += 1 - (at - low);
    if (low + 1 < count) weights[low + 1] += at - low;
  }
  return weights;
}
