/**
 * Volume, length and cross-sectional areas of masks.
 *
 * The definitions of `score-jax areas` (`score_jax.morphometry.cord_shape`): slices count from below,
 * areas and lengths are corrected for the angle between cord and slices.
 */

import { determinant, nearestAxes, spacingOf, type Affine } from "../numerics/orientation";
import { turn, type Volume } from "../numerics/volume";
import { areaOf } from "./sections";
import { slope, smoothingSpline } from "./smoothing";

const SMOOTHING = 30; // SCT's default for areas
const LAS = [-1, 1, 1]; // signs of RAS+ along the working axes

export interface SliceRow {
  slice: number; // from below
  area: number; // mm2
  length: number; // mm
  angleAp: number; // degrees
  angleRl: number;
}

export interface Measures {
  name: string;
  volume: number; // mm3
  length: number; // mm, NaN for an empty mask
  meanArea: number; // mm2
  slices: SliceRow[]; // those that hold any of the mask
}

/** Slope of the centreline in each slice: mm to the left and to the front for each mm upwards. */
export interface Tilt {
  x: number[];
  y: number[];
}

/**
 * Measure masks of one image.
 *
 * `guide` is the mask that gives the angles of all of them (the cord); null: each gives its own.
 * Masks are volumes with axes (x, y, z) as stored.
 */
export function measure(
  masks: readonly { name: string; mask: Volume<Uint8Array> }[],
  affine: Affine,
  guide: Volume<Uint8Array> | null,
): Measures[] {
  const { world, signs } = nearestAxes(affine);
  const axes = [0, 1, 2].map((axis) => world.indexOf(axis));
  const flips = axes.map((axis, i) => signs[axis] !== LAS[i]);
  const sides = spacingOf(affine).map(asStated);
  const spacing = axes.map((axis) => sides[axis]);
  const voxel = Math.abs(determinant(affine));
  const working = (mask: Volume<Uint8Array>) => turn(mask, axes, flips);
  const common = guide && tiltOf(working(guide), spacing);
  return masks.map(({ name, mask }) => {
    const turned = working(mask);
    const tilt = common ?? tiltOf(turned, spacing);
    const slices = rowsOf(turned, spacing, tilt);
    let count = 0;
    for (const value of mask.data) if (value) count++;
    return {
      name,
      volume: count * voxel,
      length: slices.length ? sum(slices.map((row) => row.length)) : NaN,
      meanArea: slices.length ? sum(slices.map((row) => row.area)) / slices.length : NaN,
      slices,
    };
  });
}

function rowsOf(mask: Volume<Uint8Array>, spacing: number[], tilt: Tilt): SliceRow[] {
  const rows: SliceRow[] = [];
  for (let slice = 0; slice < mask.shape[2]; slice++) {
    const [ap, rl] = [Math.atan(tilt.x[slice]), Math.atan(tilt.y[slice])];
    const area = areaOf(mask, slice, spacing, ap, rl);
    if (Number.isNaN(area)) continue;
    const length = spacing[2] / (Math.cos(ap) * Math.cos(rl));
    rows.push({ slice, area, length, angleAp: degrees(ap), angleRl: degrees(rl) });
  }
  return rows;
}

/** The tilt of a cord in every slice of its mask; on one slice or none it is taken upright. */
export function tiltOf(mask: Volume<Uint8Array>, spacing: readonly number[]): Tilt {
  const [nx, ny, nz] = mask.shape;
  const count = new Float64Array(nz);
  const sumX = new Float64Array(nz);
  const sumY = new Float64Array(nz);
  let index = 0;
  for (let x = 0; x < nx; x++) {
    for (let y = 0; y < ny; y++) {
      for (let z = 0; z < nz; z++) {
        if (!mask.data[index++]) continue;
        count[z]++;
        sumX[z] += x;
        sumY[z] += y;
      }
    }
  }
  const every = Array.from({ length: nz }, (_, z) => z);
  const z = every.filter((slice) => count[slice] > 0);
  if (z.length < 2) return { x: every.map(() => 0), y: every.map(() => 0) };
  const reach = z[z.length - 1] - z[0] + 1;
  const allowed = ((z.length / reach) ** 2 * SMOOTHING * spacing[2]) / 3;
  const along = (sums: Float64Array, side: number) => {
    const places = z.map((slice) => sums[slice] / count[slice]);
    const spline = smoothingSpline(z, places, z.length > 3 ? 3 : 1, allowed);
    return every.map((slice) => (slope(spline, slice) * side) / spacing[2]);
  };
  return { x: along(sumX, spacing[0]), y: along(sumY, spacing[1]) };
}

/** A voxel size as the header's float32 states it: 0.8, not 0.800000011920929. */
export function asStated(length: number): number {
  const single = Math.fround(length);
  const unit = 2 ** (Math.floor(Math.log2(single)) - 23); // distance to the next float32
  return Number(single.toFixed(Math.max(-Math.floor(Math.log10(unit)) - 1, 0)));
}

const degrees = (angle: number): number => (angle * 180) / Math.PI;
const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0);
