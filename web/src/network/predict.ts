/** From a NIfTI file to masks on its own grid, by the rules a model carries (`Predictor.predict`). */

import { UserError } from "../errors";
import { oriented, type Nifti } from "../nifti/read";
import { determinant, inverse, reorientation } from "../numerics/orientation";
import { prepare, resampleBack, uncrop } from "../numerics/prepare";
import { clean, labelsFromMasks, masksFromLogits } from "../numerics/regions";
import type { Spacing } from "../numerics/resample";
import { tiled, type Network, type Progress } from "../numerics/tiling";
import { turn, type Box, type Volume } from "../numerics/volume";
import { any, locate, widened } from "./crop";
import { outputsOf, type Description, type Spec } from "./description";

/** Masks in the order of the image's file, x fastest. */
export interface Found {
  masks: { name: string; values: Uint8Array }[];
  labels: Uint8Array;
  seconds: Record<string, number>;
  tiles: number;
  cropped: boolean;
}

export type Stage = "preprocess" | "locate" | "network" | "postprocess";

/** Segment an image. `progress` is told the stage, tiles done and tiles in all. */
export async function predict(
  image: Nifti, model: Description, network: Network,
  progress: (stage: Stage, done: number, total: number) => void, crop = true,
): Promise<Found> {
  const { spec } = model;
  const { header } = image;
  checkChannels(image, spec);
  const clock = new Clock();
  progress("preprocess", 0, 1);
  const codes = spec.preprocessing.axcodes;
  const channels = Array.from({ length: header.channels }, (_, c) => oriented(image, c, codes));
  refuseConstant(image.name, channels);
  const back = codes ? reorientation(header.affine, codes) : null;
  const spacing = (back ? back.axes.map((axis) => header.spacing[axis]) : header.spacing) as unknown as Spacing;
  clock.lap("load");
  const tell = (stage: Stage): Progress => (done, total) => progress(stage, done, total);
  let box: Box | null = crop ? await locate(spec, network, channels, spacing, tell("locate")) : null;
  clock.lap("locate");
  let tiles = 0;
  let found: Volume<Uint8Array>[];
  for (;;) {
    const prepared = prepare(channels, spacing, spec.preprocessing, box);
    clock.lap("preprocess");
    const logits = await tiled(
      network, prepared.channels, spec.tile, spec.slice_axis, outputsOf(spec), spec.tile_step,
      (done, total) => {
        tiles = total;
        progress("network", done, total);
      });
    clock.lap("network");
    progress("postprocess", 0, 1);
    const inner = logits.map((channel) => resampleBack(prepared, channel));
    const masks = masksFromLogits(inner.map(({ data }) => data), spec.regions, spec.exclusive);
    found = masks.map((data) => uncrop(prepared, { data, shape: inner[0].shape }));
    if (box === null) break;
    const wider = widened(box, { data: any(found.map(({ data }) => data)), shape: found[0].shape });
    if (wider && wider.every((side, axis) => side[0] === box?.[axis][0] && side[1] === box[axis][1])) break;
    box = wider;
  }
  const undo = back && inverse(back);
  const stored = found.map((mask) => {
    const here = undo ? turn(mask, undo.axes, undo.flips) : mask;
    return turn(here, [2, 1, 0]);
  });
  const cleaned = clean(
    stored.map(({ data }) => data), stored[0].shape, spec.regions, model.postprocessing.rules,
    Math.abs(determinant(header.affine)));
  const labels = labelsFromMasks(cleaned, spec.regions);
  clock.lap("postprocess");
  const masks = cleaned.map((values, n) => ({ name: spec.regions[n].name, values }));
  return { masks, labels, seconds: clock.seconds, tiles, cropped: box !== null };
}

function checkChannels(image: Nifti, spec: Spec): void {
  const wanted = spec.channel_names.length;
  if (image.header.channels === wanted) return;
  throw new UserError(
    `${image.name}: got ${image.header.channels} channels; the model takes ${wanted} ` +
      `(${spec.channel_names.join(", ")})`,
    "open a scan with that many, or split the file");
}

function refuseConstant(name: string, channels: readonly Volume[]): void {
  const first = channels[0].data[0];
  if (channels.some(({ data }) => data.some((value) => value !== first))) return;
  throw new UserError(`${name}: every voxel is ${first}; expected an image with contrast`);
}

/** Seconds between laps, added up by name. */
class Clock {
  readonly seconds: Record<string, number> = {};
  private last = performance.now();

  lap(name: string): void {
    const now = performance.now();
    this.seconds[name] = (this.seconds[name] ?? 0) + (now - this.last) / 1000;
    this.last = now;
  }
}
