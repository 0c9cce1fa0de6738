/**
 * Writing a mask on the grid of its image (`score_jax.imaging.save`).
 *
 * Geometry is copied byte by byte from the image's header; free text, which may name the patient, is
 * not. Values are uint8.
 */

import { FIELDS, type Header } from "./header";

/** `values` (x fastest, as in the image's file) as an uncompressed NIfTI file. */
export function niftiOf(values: Uint8Array, like: Header): Uint8Array<ArrayBuffer> {
  const at = FIELDS[like.version];
  const head = new Uint8Array(at.length + 4);
  const view = new DataView(head.buffer);
  const source = new DataView(like.raw.buffer);
  const { version, little } = like;
  const short = (place: number, value: number) => view.setInt16(place, value, true);
  const int = (place: number, value: number) =>
    version === 1 ? short(place, value) : view.setBigInt64(place, BigInt(value), true);
  const real = (place: number, value: number) =>
    version === 1 ? view.setFloat32(place, value, true) : view.setFloat64(place, value, true);
  const wide = version === 1 ? 4 : 8;
  const copyReal = (place: number) => {
    if (version === 1) view.setInt32(place, source.getInt32(place, little), true);
    else view.setBigInt64(place, source.getBigInt64(place, little), true);
  };
  view.setInt32(0, at.length, true);
  const dims = like.storedDims.length === 2 ? like.storedDims : like.shape;
  [dims.length, ...dims, ...Array<number>(7 - dims.length).fill(1)].forEach((n, i) =>
    int(at.dim + i * (version === 1 ? 2 : 8), n));
  short(at.datatype, 2);
  short(at.bitpix, 8);
  for (let i = 0; i < 8; i++) copyReal(at.pixdim + i * wide);
  if (like.channels > 1) for (let i = 4; i < 8; i++) real(at.pixdim + i * wide, 0);
  if (version === 1) {
    real(at.offset, at.length + 4);
    head[39] = like.raw[39]; // dim_info
    head[123] = like.raw[123]; // units
    short(at.qform, source.getInt16(at.qform, little));
    short(at.sform, source.getInt16(at.sform, little));
  } else {
    int(at.offset, at.length + 4);
    head[524] = like.raw[524];
    for (const place of [at.units, at.qform, at.sform]) {
      view.setInt32(place, source.getInt32(place, little), true);
    }
    head.set([0x0d, 0x0a, 0x1a, 0x0a], 8);
  }
  real(at.slope, 1);
  for (let i = 0; i < 18; i++) copyReal(at.quatern + i * wide); // quaternion, offsets, rows
  const text = version === 1 ? 148 : 240;
  head.set(new TextEncoder().encode("score-jax"), text);
  head.set(new TextEncoder().encode(`n+${version}`), at.magic);
  const file = new Uint8Array(head.length + values.length);
  file.set(head);
  file.set(values, head.length);
  return file;
}

/** The same bytes as gzip. */
export async function gzip(bytes: Uint8Array<ArrayBuffer>): Promise<Blob> {
  const packed = new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Response(packed).blob();
}
