/** Which way the axes of an array point (nibabel's rule), and turning them without resampling. */

import { inverseAxes } from "./volume";

/** Rows of a 4 x 4 matrix, voxel index to RAS+ millimetres. */
export type Affine = readonly (readonly number[])[];

export interface Reorientation {
  axes: [number, number, number]; // new axis i is old axis axes[i]
  flips: [boolean, boolean, boolean]; // and runs backwards if flips[i]
}

const NEGATIVE = "LPI";
const POSITIVE = "RAS";

/** World axis and sign of each array axis, of the nearest orthogonal grid. */
export function nearestAxes(affine: Affine): { world: number[]; signs: number[] } {
  const lengths = spacingOf(affine);
  const unit = [0, 1, 2].map((row) => [0, 1, 2].map((column) => affine[row][column] / lengths[column]));
  const near = polar(unit);
  const squares = [0, 1, 2].map((c) => Math.max(...[0, 1, 2].map((r) => near[r][c] ** 2)));
  const order = [0, 1, 2].sort((a, b) => squares[b] - squares[a] || a - b);
  const world = [0, 0, 0];
  const signs = [1, 1, 1];
  for (const column of order) {
    let best = 0;
    for (const row of [1, 2]) if (Math.abs(near[row][column]) > Math.abs(near[best][column])) best = row;
    world[column] = best;
    signs[column] = near[best][column] >= 0 ? 1 : -1;
    near[best] = [0, 0, 0];
  }
  return { world, signs };
}

/** Letters of the directions in which the indices grow, e.g. LAS. */
export function axcodesOf(affine: Affine): string {
  const { world, signs } = nearestAxes(affine);
  return world.map((axis, i) => (signs[i] > 0 ? POSITIVE : NEGATIVE)[axis]).join("");
}

/** What turns an array with `affine` into one whose axes point to `axcodes`. */
export function reorientation(affine: Affine, axcodes: string): Reorientation {
  const have = axcodesOf(affine);
  const world = [...have].map(axisOf);
  const axes = [...axcodes].map((letter) => world.indexOf(axisOf(letter))) as [number, number, number];
  const flips = axes.map((axis, i) => have[axis] !== axcodes[i]) as [boolean, boolean, boolean];
  return { axes, flips };
}

/** The reorientation that undoes `turn`. */
export function inverse(turn: Reorientation): Reorientation {
  const axes = inverseAxes(turn.axes);
  return { axes, flips: axes.map((axis) => turn.flips[axis]) as [boolean, boolean, boolean] };
}

/** Lengths of the affine's columns in mm. */
export function spacingOf(affine: Affine): [number, number, number] {
  const [x, y, z] = [0, 1, 2].map((c) => Math.hypot(affine[0][c], affine[1][c], affine[2][c]));
  return [x, y, z];
}

/** Determinant of the upper 3 x 3 part. */
export function determinant(m: Affine): number {
  return (
    m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) -
    m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) +
    m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
  );
}

/** The orthogonal factor of a 3 x 3 matrix, by Newton's iteration (Higham 1986). */
function polar(matrix: number[][]): number[][] {
  let now = matrix;
  for (let round = 0; round < 50; round++) {
    const back = inverseTransposed(now);
    const next = now.map((row, r) => row.map((value, c) => (value + back[r][c]) / 2));
    const change = Math.max(...next.flatMap((row, r) => row.map((v, c) => Math.abs(v - now[r][c]))));
    now = next;
    if (change < 1e-15) break;
  }
  return now;
}

function inverseTransposed(m: number[][]): number[][] {
  const d = determinant(m);
  const minor = (r: number, c: number) => {
    const [a, b] = [(r + 1) % 3, (r + 2) % 3];
    const [e, f] = [(c + 1) % 3, (c + 2) % 3];
    return m[a][e] * m[b][f] - m[a][f] * m[b][e];
  };
  return [0, 1, 2].map((r) => [0, 1, 2].map((c) => minor(r, c) / d));
}

const axisOf = (letter: string): number => Math.max(POSITIVE.indexOf(letter), NEGATIVE.indexOf(letter));
