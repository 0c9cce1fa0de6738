/**
 * What the file beside an exported model says (`score_jax.export.describe`), checked before use.
 */

import { UserError } from "../errors";

export interface Region {
  name: string;
  labels: number[];
  value: number;
}

export interface Rule {
  kind: "largest" | "min_size";
  regions: string[];
  min_mm3: number;
}

export interface Preprocessing {
  axcodes: string;
  transpose: [number, number, number];
  spacing_mm: number[];
  normalization: ("zscore" | "rescale" | "ct" | "none")[];
  crop_nonzero: boolean;
  mask_normalization: boolean;
  ct_statistics: number[][];
  highpass_sigma_mm: number;
  order: number;
}

export interface Spec {
  format: number;
  kind: string;
  in_channels: number;
  channel_names: string[];
  regions: Region[];
  exclusive: boolean;
  preprocessing: Preprocessing;
  tile: number[];
  slice_axis: number;
  tile_step: number;
}

export interface Description {
  format: number;
  name: string;
  made_by: string;
  licence: string;
  sha256: string[];
  file: string;
  bytes: number;
  spec: Spec;
  postprocessing: { format: number; rules: Rule[] };
}

const FORMAT = 1; // of the description, of the specification and of the rules

/** The description in a JSON text. Throws a `UserError` for one that this page cannot follow. */
export function readDescription(text: string, where: string): Description {
  let found: Description;
  try {
    found = JSON.parse(text) as Description;
  } catch {
    throw new UserError(`${where}: the model's description is no JSON`, "export the model again");
  }
  const formats = [found?.format, found?.spec?.format, found?.postprocessing?.format];
  if (formats.some((format) => format !== FORMAT)) {
    throw new UserError(
      `${where}: got a description of format ${formats.join(", ")}; this page reads ${FORMAT}`,
      "export the model again",
    );
  }
  const { order } = found.spec.preprocessing;
  if (order !== 1 && order !== 3) {
    throw new UserError(`${where}: resamples with splines of order ${order}; this page knows 1 and 3`);
  }
  return found;
}

/** Outputs of the network. */
export const outputsOf = (spec: Spec): number => spec.regions.length + (spec.exclusive ? 1 : 0);
