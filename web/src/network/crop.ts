/**
 * Where the cord lies: a coarse look, so that the fine one need not see all of a scan.
 *
 * The rules and numbers of `score_jax.inference.cropping`, which `score-jax predict` follows as well.
 */

import { boundingBox, components } from "../numerics/components";
import { prepare, type Prepared } from "../numerics/prepare";
import { resampledShape, type Spacing } from "../numerics/resample";
import { masksFromLogits } from "../numerics/regions";
import { countTiles, product, take, type Network, type Progress } from "../numerics/tiling";
import { tileStarts } from "../numerics/grid";
import { cut, size, type Box, type Shape, type Volume } from "../numerics/volume";
import type { Region, Spec } from "./description";

const MARGIN_MM = 15;
const COARSER = 2;
const COARSEST_MM = 2;
const LEAST_MM3 = 300; // of a piece of cord that is believed
const WORTH = 3; // crop where the scan has this many times the tiles of the coarse look,
const WORTH_VOXELS = 4_000_000; // and its tiles this many voxels
const CORD = ["cord", "sc", "spinalcord"];

/** The name of the region that is the whole cord, or null. */
export function cordRegion(regions: readonly Pick<Region, "name">[]): string | null {
  const found = regions.find(({ name }) => CORD.includes(name.toLowerCase().replace(/[^a-z0-9]/g, "")));
  return found?.name ?? null;
}

/** The box of the image (axes in the model's orientation) worth seeing, or null for all of it. */
export async function locate(
  spec: Spec, network: Network, channels: readonly Volume[], spacing: Spacing, progress: Progress,
): Promise<Box | null> {
  if (cordRegion(spec.regions) === null) return null;
  const rules = spec.preprocessing;
  const here = rules.transpose.map((axis) => spacing[axis]) as unknown as Spacing;
  const shape = rules.transpose.map((axis) => channels[0].shape[axis]) as unknown as Shape;
  const fine = here.map((mm, axis) => rules.spacing_mm[axis] || mm) as unknown as Spacing;
  const coarser = fine.map((mm) => Math.max(mm, Math.min(COARSER * mm, COARSEST_MM)));
  const flat = spec.tile.length === 2;
  const tile = [...spec.tile];
  if (flat) tile.splice(spec.slice_axis, 0, 1);
  const tiles = countTiles(resampledShape(shape, here, fine), tile, spec.tile_step);
  const looks = countTiles(resampledShape(shape, here, coarser as unknown as Spacing), tile, 1);
  if (tiles * size(tile) < WORTH_VOXELS || tiles < WORTH * looks) return null;
  const coarse = prepare(channels, spacing, { ...rules, spacing_mm: coarser, order: 1 });
  const find = async (input: Float32Array) => {
    const logits = await network(input);
    const each = size(tile);
    const outputs = Array.from({ length: logits.length / each }, (_, k) =>
      logits.subarray(k * each, (k + 1) * each));
    return any(masksFromLogits(outputs, spec.regions, spec.exclusive));
  };
  const least = Math.max(1, Math.round(LEAST_MM3 / size(coarse.spacing)));
  const mask = await follow(find, coarse.channels, tile, least, progress);
  if (mask === null) return null;
  const extent = tile.map((n, axis) => (flat && axis === spec.slice_axis ? 0 : n * fine[axis]));
  return boxAround(mask, coarse, MARGIN_MM, extent, spec.tile_step);
}

/** Pieces found tile by tile along what was found, from the middle outwards; null for none. */
export async function follow(
  find: (tile: Float32Array) => Promise<Uint8Array>, channels: readonly Volume[],
  tile: readonly number[], least: number, progress: Progress,
): Promise<Volume<Uint8Array> | null> {
  const shape = channels[0].shape;
  const space = shape.map((n, axis) => Math.max(n, tile[axis])) as unknown as Shape;
  const pad = space.map((n, axis) => Math.floor((n - shape[axis]) / 2));
  const middle = space.map((n, axis) => (n - tile[axis]) / 2);
  const far = (start: readonly number[]) =>
    start.reduce((sum, s, axis) => sum + (s - middle[axis]) ** 2, 0);
  let left = product(space.map((n, axis) => tileStarts(n, tile[axis], 1)), 0);
  left.sort((a, b) => far(a) - far(b));
  const total = left.length;
  const found: Volume<Uint8Array> = { data: new Uint8Array(size(space)), shape: space };
  const input = new Float32Array(channels.length * size(tile));
  let pieces: Volume<Uint8Array> | null = null;
  while (left.length) {
    const next: number[] | undefined = left.find((start) => pieces === null || touches(pieces, start, tile));
    if (!next) break;
    left = left.filter((start) => start !== next);
    take(channels, next.map((s, axis) => s - pad[axis]), tile, input);
    mark(found, next, tile, await find(input));
    const { labels, sizes } = components(found);
    const kept = new Uint8Array(labels.length);
    labels.forEach((label, i) => {
      if (label && sizes[label - 1] >= least) kept[i] = 1;
    });
    pieces = sizes.some((n) => n >= least) ? { data: kept, shape: space } : null;
    progress(total - left.length, total);
  }
  return pieces && cut(pieces, pad.map((p, axis) => [p, p + shape[axis]]) as unknown as Box);
}

/** The box of the image (its own axis order) around a coarse mask; it grows to what tiles see anyway. */
export function boxAround(
  mask: Volume<Uint8Array>, coarse: Prepared, margin: number, tileMm: readonly number[], step: number,
): Box {
  const found = boundingBox(mask);
  if (found === null) throw new Error("an empty mask has no box");
  const sides = found.map(([start, stop], axis) => {
    const mm = coarse.fullSpacing[axis];
    const whole = coarse.fullShape[axis];
    const [corner, end] = coarse.box[axis];
    const scale = (end - corner) / mask.shape[axis];
    let low = Math.max(Math.floor(corner + start * scale - margin / mm), 0);
    const high = Math.min(Math.ceil(corner + stop * scale + margin / mm), whole);
    const length = Math.min(Math.max(seenAnyway(high - low, tileMm[axis] / mm, step), high - low), whole);
    low = Math.min(Math.max(low - Math.floor((length - (high - low)) / 2), 0), whole - length);
    return [low, low + length] as const;
  });
  const back = [0, 1, 2].map((axis) => coarse.transpose.indexOf(axis));
  return [sides[back[0]], sides[back[1]], sides[back[2]]];
}

/**
 * `box`, up to the image's edge wherever the largest piece of the mask in it reaches its own side.
 * Null, for the whole image, if nothing is in it or little would be left out.
 */
export function widened(box: Box, mask: Volume<Uint8Array>): Box | null {
  const inner = cut(mask, box);
  const { labels, sizes } = components(inner);
  if (!sizes.length) return null;
  const largest = sizes.indexOf(Math.max(...sizes)) + 1;
  const piece = labels.map((label) => (label === largest ? 1 : 0));
  const reach = boundingBox({ data: Uint8Array.from(piece), shape: inner.shape }) as Box;
  const wider = box.map(([start, stop], axis) => [
    reach[axis][0] === 0 ? 0 : start,
    reach[axis][1] === inner.shape[axis] ? mask.shape[axis] : stop,
  ]) as unknown as Box;
  const same = wider.every(([start, stop], axis) => start === box[axis][0] && stop === box[axis][1]);
  const voxels = wider.reduce((n, [start, stop]) => n * (stop - start), 1);
  return !same && voxels > mask.data.length / 2 ? null : wider;
}

function seenAnyway(length: number, tile: number, step: number): number {
  if (tile === 0) return length;
  const more = Math.ceil(Math.max(length - tile, 0) / (tile * step));
  return Math.floor(tile + more * tile * step);
}

function touches(pieces: Volume<Uint8Array>, start: readonly number[], tile: readonly number[]): boolean {
  const box = start.map((s, axis) => [
    Math.max(s - 1, 0), Math.min(s + tile[axis] + 1, pieces.shape[axis]),
  ]) as unknown as Box;
  return cut(pieces, box).data.includes(1);
}

function mark(
  found: Volume<Uint8Array>, start: readonly number[], tile: readonly number[], seen: Uint8Array,
): void {
  let from = 0;
  for (let x = start[0]; x < start[0] + tile[0]; x++) {
    for (let y = start[1]; y < start[1] + tile[1]; y++) {
      const to = (x * found.shape[1] + y) * found.shape[2] + start[2];
      for (let z = 0; z < tile[2]; z++) if (seen[from++]) found.data[to + z] = 1;
    }
  }
}

/** Where any of the masks is. */
export function any(masks: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(masks[0].length);
  for (const mask of masks) for (let i = 0; i < out.length; i++) if (mask[i]) out[i] = 1;
  return out;
}
