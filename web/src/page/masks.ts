/** Masks of the scan that is open: from the network, or from files. */

import { UserError } from "../errors";
import { stem } from "../nifti/names";
import { channelOf, type Nifti } from "../nifti/read";
import { axcodesOf, reorientation, type Affine } from "../numerics/orientation";
import { turn } from "../numerics/volume";
import type { Colour } from "./viewer";

/** A mask on the grid of the scan, in the order of its file (x fastest). */
export interface Mask {
  name: string;
  values: Uint8Array;
  colour: Colour;
}

const COLOURS: Colour[] = [
  [86, 180, 233], [230, 159, 0], [240, 98, 110], [0, 190, 130], [204, 121, 167], [240, 228, 66], [160, 130, 255],
]; // after Okabe and Ito, told apart by most colour-blind people

export const colourOf = (number: number): Colour => COLOURS[number % COLOURS.length];
export const css = ([r, g, b]: Colour): string => `rgb(${r}, ${g}, ${b})`;

const NEAR = 1e-3; // how far a stored value may lie from the integer it means
const MOST_LABELS = 32;

/**
 * The masks in a file: one of a binary or soft mask (above one half), one for each label of a map.
 *
 * Throws a `UserError` if the file lies on another grid than the scan, or is no mask.
 */
export function masksOf(file: Nifti, scan: Nifti, first: number): { masks: Mask[]; note: string } {
  if (file.header.channels !== 1) {
    throw new UserError(`${file.name}: got ${file.header.channels} channels; expected a mask of one`);
  }
  const values = onGridOf(file, scan);
  const distinct = new Set<number>();
  let whole = true;
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    const near = Math.round(value);
    if (Math.abs(value - near) > NEAR) whole = false;
    else if (near !== 0 && distinct.size <= MOST_LABELS) distinct.add(near);
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low < -NEAR || (!whole && high > 1 + NEAR)) {
    throw new UserError(`${file.name}: got values from ${low} to ${high}; expected a mask, labels or probabilities`);
  }
  if (distinct.size > MOST_LABELS) {
    throw new UserError(`${file.name}: got more than ${MOST_LABELS} labels; expected a mask or a label map`);
  }
  const name = shortName(file.name);
  const labels = [...distinct].sort((a, b) => a - b);
  const make = (title: string, inside: (value: number) => boolean, number: number): Mask => ({
    name: title, colour: colourOf(number), values: Uint8Array.from(values, (v) => (inside(v) ? 1 : 0)),
  });
  if (!whole) {
    return { masks: [make(name, (v) => v > 0.5, first)], note: `${file.name} is soft; shown and measured above 0.5` };
  }
  if (labels.length < 2) return { masks: [make(name, (v) => v > NEAR, first)], note: "" };
  const masks = labels.map((label, i) =>
    make(`${name} ${label}`, (v) => Math.abs(v - label) <= NEAR, first + i));
  return { masks, note: "" };
}

/** Values turned to the scan's orientation, once both are known to share a grid. */
function onGridOf(file: Nifti, scan: Nifti): Float32Array {
  const { affine } = file.header;
  const turned = reorientation(affine, axcodesOf(scan.header.affine));
  const shape = turned.axes.map((axis) => file.header.shape[axis]);
  const same = shape.every((n, axis) => n === scan.header.shape[axis]);
  const to = turned.axes.map((axis, i) => ({ axis, flip: turned.flips[i], n: file.header.shape[axis] }));
  const moved = affine.map((row) => [
    ...to.map(({ axis, flip }) => (flip ? -row[axis] : row[axis])),
    to.reduce((sum, { axis, flip, n }) => sum + (flip ? row[axis] * (n - 1) : 0), row[3]),
  ]);
  const apart = same ? cornerDistance(moved, scan.header.affine, shape) : Infinity;
  if (apart > Math.max(1e-3, 0.01 * Math.min(...scan.header.spacing))) {
    const grid = (header: Nifti["header"]) =>
      `${header.shape.join(" x ")} voxels of ${header.spacing.map((mm) => Number(mm.toPrecision(4))).join(" x ")} mm`;
    throw new UserError(
      `${file.name}: lies on another grid (${grid(file.header)}${same ? `, corners ${apart.toPrecision(3)} mm apart` : ""}) ` +
        `than the scan (${grid(scan.header)})`, "resample the mask to the scan");
  }
  const stored = turn(channelOf(file, 0), [2, 1, 0]);
  const here = turn(stored, turned.axes, turned.flips);
  return turn(here, [2, 1, 0]).data;
}

function cornerDistance(a: Affine, b: Affine, shape: number[]): number {
  let most = 0;
  for (let corner = 0; corner < 8; corner++) {
    const at = shape.map((n, axis) => ((corner >> axis) & 1 ? n - 1 : 0));
    const gap = [0, 1, 2].map((r) =>
      at.reduce((sum, v, c) => sum + v * (a[r][c] - b[r][c]), a[r][3] - b[r][3]));
    most = Math.max(most, Math.hypot(...gap));
  }
  return most;
}

/** The structure a mask's name speaks of, or the name. */
function shortName(file: string): string {
  return /_label-([a-zA-Z0-9+]+)(?=_|$)/.exec(stem(file))?.[1] ?? stem(file);
}
