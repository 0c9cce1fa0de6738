/** From an image to the network's grid and back, by the rules of a model (`score_jax.planning.preprocess`). */

import { UserError } from "../errors";
import type { Preprocessing } from "../network/description";
import { boundingBox, fillHoles } from "./components";
import { ct, highpass, rescale, zscore } from "./intensity";
import { coarseAxis, resample, resampledShape, type Spacing } from "./resample";
import {
  boxShape, cut, inverseAxes, paste, turn, wholeBox, type Box, type Numbers, type Shape, type Volume,
} from "./volume";

/** Channels on the network's grid, and the way back; axes in the network's order. */
export interface Prepared {
  channels: Volume[];
  spacing: Spacing;
  fullShape: Shape;
  box: Box; // where the crop lies in it
  fullSpacing: Spacing;
  transpose: readonly [number, number, number];
}

/**
 * An image on the network's grid: transposed, cropped to what is not 0, normalised, resampled.
 *
 * `within` is the box of the image that is wanted (axes of the image); intensities are normalised by
 * all of it.
 */
export function prepare(
  channels: readonly Volume[], spacing: Spacing, rules: Preprocessing, within: Box | null = null,
): Prepared {
  const order = rules.transpose;
  const turned = channels.map((channel) => turn(channel, order));
  const here: Spacing = [spacing[order[0]], spacing[order[1]], spacing[order[2]]];
  const target = here.map((mm, axis) => rules.spacing_mm[axis] || mm) as unknown as Spacing;
  const fullShape = turned[0].shape;
  const mask = rules.crop_nonzero || rules.mask_normalization ? nonzero(turned) : null;
  const box = (rules.crop_nonzero && mask && boundingBox(mask)) || wholeBox(fullShape);
  const asked = within && ([within[order[0]], within[order[1]], within[order[2]]] as const);
  const part = partOf(box, asked);
  const wanted = box.map((side, axis) => [
    side[0] + part[axis][0], side[0] + part[axis][1],
  ]) as unknown as Box;
  const inside = rules.mask_normalization && mask ? cut(mask, box) : null;
  const inner = turned.map((channel) => cut(channel, box));
  if (rules.highpass_sigma_mm) {
    const high = inner.map((c) => ({ data: highpass(c, here, rules.highpass_sigma_mm), shape: c.shape }));
    inner.push(...high);
  }
  const schemes = rules.normalization;
  if (schemes.length !== 1 && schemes.length !== inner.length) {
    throw new UserError(`model: ${schemes.length} normalisations for ${inner.length} channels`);
  }
  const shape = resampledShape(boxShape(part), here, target);
  const axis = coarseAxis(here, target);
  const prepared = inner.map((channel, number) => {
    const scheme = schemes[schemes.length === 1 ? 0 : number];
    const data = normalise(channel, scheme, rules, number, inside);
    return resample(cut({ data, shape: channel.shape }, part), shape, rules.order, axis);
  });
  return {
    channels: prepared, spacing: target, fullShape, box: wanted, fullSpacing: here, transpose: order,
  };
}

/** One output of the network on the image's voxels, in the crop and the network's axis order. */
export function resampleBack(prepared: Prepared, channel: Volume): Volume {
  const axis = coarseAxis(prepared.spacing, prepared.fullSpacing);
  return resample(channel, boxShape(prepared.box), 1, axis);
}

/** Values of the crop in the whole image and its axis order, 0 beyond the crop. */
export function uncrop<T extends Numbers>(prepared: Prepared, inner: Volume<T>): Volume<T> {
  return turn(paste(inner, prepared.box, prepared.fullShape, 0), inverseAxes(prepared.transpose));
}

function normalise(
  channel: Volume, scheme: string, rules: Preprocessing, number: number,
  mask: Volume<Uint8Array> | null,
): Float32Array {
  if (scheme === "zscore") return zscore(channel.data, mask && mask.data);
  if (scheme === "rescale") return rescale(channel.data);
  if (scheme === "ct") return ct(channel.data, rules.ct_statistics[number]);
  return channel.data;
}

/** Where any channel is not 0, holes filled. */
function nonzero(channels: readonly Volume[]): Volume<Uint8Array> {
  const data = new Uint8Array(channels[0].data.length);
  for (const channel of channels) {
    for (let i = 0; i < data.length; i++) if (channel.data[i] !== 0) data[i] = 1;
  }
  return fillHoles({ data, shape: channels[0].shape });
}

/** Where `within` lies in `box`, counted from its corner; all of it where they do not meet. */
function partOf(box: Box, within: Box | null): Box {
  const whole = wholeBox(boxShape(box));
  if (within === null) return whole;
  const part = box.map((b, axis) => [
    Math.max(within[axis][0] - b[0], 0), Math.min(within[axis][1], b[1]) - b[0],
  ]) as unknown as Box;
  return part.every(([start, stop]) => start < stop) ? part : whole;
}
