/**
 * The header of a NIfTI-1 or NIfTI-2 file, judged before anything is allocated.
 *
 * The rules are those of docs/conventions.md (`score_jax.imaging.nifti`, `grid`).
 */

import { UserError } from "../errors";
import { determinant, spacingOf, type Affine } from "../numerics/orientation";

export const MAX_BYTES = 2 ** 30; // of one image, as stored or as float32, whichever is more
const MIN_MM = 0.01;
const MAX_MM = 50;
const REAL: Record<number, number> = {
  2: 1, 4: 2, 8: 4, 16: 4, 64: 8, 256: 1, 512: 2, 768: 4, 1024: 8, 1280: 8,
}; // datatype to bytes
const NOT_REAL: Record<number, string> = {
  32: "complex", 1792: "complex", 2048: "complex", 128: "RGB", 2304: "RGBA",
};

export interface Header {
  raw: Uint8Array; // 348 or 540 bytes, as stored
  little: boolean;
  version: 1 | 2;
  storedDims: number[];
  shape: [number, number, number];
  channels: number;
  datatype: number;
  bytesEach: number;
  offset: number;
  slope: number;
  inter: number;
  affine: Affine;
  spacing: [number, number, number];
  notes: string[];
}

/** Where the fields lie, in NIfTI-1 and NIfTI-2. */
export const FIELDS = {
  1: {
    length: 348, dim: 40, datatype: 70, bitpix: 72, pixdim: 76, offset: 108, slope: 112, inter: 116,
    units: 123, qform: 252, sform: 254, quatern: 256, srow: 280, magic: 344,
  },
  2: {
    length: 540, dim: 16, datatype: 12, bitpix: 14, pixdim: 104, offset: 168, slope: 176, inter: 184,
    units: 500, qform: 344, sform: 348, quatern: 352, srow: 400, magic: 4,
  },
} as const;

/** The length of the header that starts with these bytes, or 0 if they start none. */
export function headerLength(start: Uint8Array): 0 | 348 | 540 {
  if (start.length < 4) return 0;
  const view = new DataView(start.buffer, start.byteOffset);
  for (const little of [true, false]) {
    const length = view.getInt32(0, little);
    if (length === 348 || length === 540) return length;
  }
  return 0;
}

/** The header in its first bytes. Throws a `UserError` that names the file. */
export function parseHeader(name: string, bytes: Uint8Array): Header {
  const length = headerLength(bytes);
  if (!length) {
    throw new UserError(
      `${name}: not a NIfTI file (its start is no header of 348 or 540 bytes)`,
      "open a .nii or .nii.gz file, or a DICOM folder",
    );
  }
  if (bytes.length < length) throw truncated(name, `${bytes.length} of ${length} bytes of the header`);
  const raw = bytes.slice(0, length);
  const view = new DataView(raw.buffer);
  const little = view.getInt32(0, true) === length;
  const version = length === 348 ? 1 : 2;
  const at = FIELDS[version];
  const magic = String.fromCharCode(...raw.subarray(at.magic, at.magic + 3));
  if (magic !== `n+${version}`) {
    throw new UserError(`${name}: not NIfTI in one file (magic ${JSON.stringify(magic)})`,
      "convert it to one .nii.gz");
  }
  const int = (place: number) =>
    version === 1 ? view.getInt16(place, little) : Number(view.getBigInt64(place, little));
  const real = (place: number) =>
    version === 1 ? view.getFloat32(place, little) : view.getFloat64(place, little);
  const wide = version === 1 ? 4 : 8;
  const { storedDims, shape, channels } = dimensions(name, int, at.dim, version === 1 ? 2 : 8);
  const datatype = view.getInt16(at.datatype, little);
  const bytesEach = REAL[datatype];
  if (!bytesEach) {
    throw new UserError(
      `${name}: got ${NOT_REAL[datatype] ?? "unknown"} values (datatype ${datatype}); expected ` +
        "integers or floats of at most 64 bits", "save it as grey values");
  }
  const count = shape[0] * shape[1] * shape[2] * channels;
  const needed = count * Math.max(4, bytesEach);
  if (needed > MAX_BYTES) {
    throw new UserError(
      `${name}: too large: ${storedDims.join(" x ")} values, ${(needed / 2 ** 30).toFixed(1)} GiB; ` +
        `this page takes at most ${MAX_BYTES / 2 ** 30} GiB`,
      "crop or resample it, or use score-jax predict");
  }
  const offset = offsetOf(name, version === 1 ? real(at.offset) : int(at.offset), length + 4);
  const [slope, inter] = scaling(name, real(at.slope), real(at.inter));
  const pixdim = Array.from({ length: 8 }, (_, i) => real(at.pixdim + i * wide));
  const code = (place: number) =>
    version === 1 ? view.getInt16(place, little) : view.getInt32(place, little);
  const quatern = Array.from({ length: 6 }, (_, i) => real(at.quatern + i * wide));
  const srow = Array.from({ length: 12 }, (_, i) => real(at.srow + i * wide));
  const notes: string[] = [];
  const affine = statedAffine(name, shape, pixdim, code(at.sform), code(at.qform), srow, quatern, notes);
  const spacing = spacingOf(affine).map((mm) => snapped(mm, pixdim.slice(1, 4))) as [number, number, number];
  return {
    raw, little, version, storedDims, shape, channels, datatype, bytesEach, offset, slope, inter,
    affine, spacing, notes,
  };
}

function dimensions(name: string, int: (place: number) => number, start: number, step: number) {
  const ndim = int(start);
  const storedDims = Array.from({ length: Math.max(0, Math.min(ndim, 7)) }, (_, i) => int(start + (i + 1) * step));
  if (!(ndim >= 1 && ndim <= 7) || storedDims.some((n) => !(n >= 1))) {
    throw new UserError(`${name}: its header announces dimensions ${[ndim, ...storedDims].join(", ")}; ` +
      "expected the number of axes and that many lengths >= 1");
  }
  const full = ndim === 2 ? [...storedDims, 1] : storedDims;
  const kept = [...full.slice(0, 3), ...full.slice(3).filter((n) => n > 1)];
  if (kept.length < 3 || kept.length > 4) {
    throw new UserError(`${name}: got ${storedDims.join(" x ")} values (${ndim} axes); expected x, y, z ` +
      "and at most one axis of channels", "split the file");
  }
  const shape: [number, number, number] = [kept[0], kept[1], kept[2]];
  return { storedDims, shape, channels: kept[3] ?? 1 };
}

function offsetOf(name: string, value: number, least: number): number {
  if (value === 0) return least;
  if (!(value >= least && value <= 2 ** 31 && Number.isInteger(value))) {
    throw new UserError(`${name}: its values start at byte ${value}; expected ${least} or a little more`);
  }
  return value;
}

function scaling(name: string, slope: number, inter: number): [number, number] {
  if (slope === 0 || !Number.isFinite(slope)) return [1, 0];
  if (!Number.isFinite(inter)) throw new UserError(`${name}: got the intercept ${inter}; expected a finite one`);
  return [slope, inter];
}

function statedAffine(
  name: string, shape: number[], pixdim: number[], sform: number, qform: number, srow: number[],
  quatern: number[], notes: string[],
): Affine {
  checkSizes(name, pixdim.slice(1, 4));
  let affine: number[][];
  if (sform > 0) affine = [srow.slice(0, 4), srow.slice(4, 8), srow.slice(8, 12), [0, 0, 0, 1]];
  else if (qform > 0) affine = fromQuaternion(name, pixdim, quatern);
  else {
    notes.push("states no orientation (sform and qform codes are 0): left and right are assumed");
    const scale = [-pixdim[1], pixdim[2], pixdim[3]];
    return [0, 1, 2, 3].map((r) => {
      if (r === 3) return [0, 0, 0, 1];
      const row = [0, 0, 0, (-scale[r] * (shape[r] - 1)) / 2];
      row[r] = scale[r];
      return row;
    });
  }
  const spacing = spacingOf(affine);
  if (affine.flat().some((value) => !Number.isFinite(value))) {
    throw new UserError(`${name}: its transform has values that are not finite; expected numbers`);
  }
  checkSizes(name, spacing);
  if (Math.abs(determinant(affine) / (spacing[0] * spacing[1] * spacing[2])) < 1e-3) {
    throw new UserError(`${name}: its transform is singular (axes in one plane); expected three axes`);
  }
  return affine;
}

function fromQuaternion(name: string, pixdim: number[], quatern: number[]): number[][] {
  const [b, c, d, x, y, z] = quatern;
  const rest = 1 - (b * b + c * c + d * d);
  if (!(rest > -1e-5)) {
    throw new UserError(`${name}: its qform has the quaternion ${b}, ${c}, ${d}; expected a length of at most 1`);
  }
  const a = Math.sqrt(Math.max(rest, 0));
  const handed = pixdim[0] === -1 ? -1 : 1;
  const turn = [
    [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
    [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
    [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
  ];
  const size = [pixdim[1], pixdim[2], handed * pixdim[3]];
  const rows = turn.map((row, r) => [...row.map((value, i) => value * size[i]), [x, y, z][r]]);
  return [...rows, [0, 0, 0, 1]];
}

function checkSizes(name: string, sizes: readonly number[]): void {
  if (sizes.every((mm) => mm >= MIN_MM * (1 - 1e-6) && mm <= MAX_MM * (1 + 1e-6))) return;
  throw new UserError(`${name}: got voxels of ${sizes.map((mm) => Number(mm.toPrecision(6))).join(" x ")} mm; ` +
    `expected ${MIN_MM} to ${MAX_MM} mm on each axis`, "correct the header; lengths must be in mm");
}

/** A length that agrees with a stated one to one part in 10000 is given as that one. */
function snapped(length: number, stated: number[]): number {
  const near = stated.reduce((best, mm) => (Math.abs(mm - length) < Math.abs(best - length) ? mm : best));
  return Math.abs(near - length) <= 1e-4 * length ? near : length;
}

export function truncated(name: string, found: string): UserError {
  return new UserError(`${name}: got ${found}; expected a whole file`, "copy or export it again");
}
