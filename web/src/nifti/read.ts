/** Reading a NIfTI file, compressed or not, into volumes. */

import { UserError } from "../errors";
import { reorientation } from "../numerics/orientation";
import { size, turn, type Volume } from "../numerics/volume";
import { headerLength, parseHeader, truncated, type Header } from "./header";

/** A file in memory: its header and the bytes of its values. */
export interface Nifti {
  name: string;
  header: Header;
  values: ArrayBuffer;
}

/** Read a file. Throws a `UserError` for one that is no image, is damaged or too large. */
export async function readNifti(name: string, file: Blob): Promise<Nifti> {
  if (file.size === 0) throw truncated(name, "an empty file");
  const start = new Uint8Array(await file.slice(0, 2).arrayBuffer());
  const packed = start[0] === 0x1f && start[1] === 0x8b;
  const stream = file.stream() as ReadableStream<Uint8Array<ArrayBuffer>>;
  const source = new Source(packed ? stream.pipeThrough(new DecompressionStream("gzip")) : stream);
  try {
    const first = await source.take(4);
    const header = parseHeader(name, await source.take(headerLength(first) || 4, first));
    await source.skip(header.offset - header.raw.length);
    const bytes = size(header.shape) * header.channels * header.bytesEach;
    const got = await source.take(bytes);
    if (got.length < bytes) throw truncated(name, `${got.length} of ${bytes} bytes of voxel values`);
    return { name, header, values: got.buffer };
  } catch (error) {
    if (error instanceof UserError || error instanceof RangeError) throw error;
    throw new UserError(`${name}: a damaged gzip stream; expected a whole one`, "copy or export it again");
  } finally {
    source.close();
  }
}

/** One channel as float32 in the order of the file, refused unless its values are finite. */
export function channelOf(image: Nifti, channel: number): Volume {
  const { header } = image;
  const count = size(header.shape);
  const data = new Float32Array(count);
  const view = new DataView(image.values, channel * count * header.bytesEach, count * header.bytesEach);
  const read = reader(view, header);
  const { slope, inter } = header;
  const plain = slope === 1 && inter === 0;
  let bad = 0;
  for (let i = 0; i < count; i++) {
    data[i] = plain ? read(i) : read(i) * slope + inter;
    if (!Number.isFinite(data[i])) bad++;
  }
  if (bad) {
    throw new UserError(`${image.name}: ${bad} of ${count} values are not finite; expected numbers`);
  }
  // x is fastest in the file, the last axis here: the same numbers with the axes the other way round
  const [x, y, z] = header.shape;
  return { data, shape: [z, y, x] };
}

/** One channel with its axes (x, y, z) turned to `axcodes`; "" keeps the stored ones. */
export function oriented(image: Nifti, channel: number, axcodes: string): Volume {
  const stored = channelOf(image, channel);
  if (!axcodes) return turn(stored, [2, 1, 0]);
  const { axes, flips } = reorientation(image.header.affine, axcodes);
  return turn(stored, axes.map((axis) => 2 - axis), flips);
}

function reader(view: DataView, header: Header): (index: number) => number {
  const { little, datatype, bytesEach: n } = header;
  switch (datatype) {
    case 2: return (i) => view.getUint8(i);
    case 256: return (i) => view.getInt8(i);
    case 4: return (i) => view.getInt16(i * n, little);
    case 512: return (i) => view.getUint16(i * n, little);
    case 8: return (i) => view.getInt32(i * n, little);
    case 768: return (i) => view.getUint32(i * n, little);
    case 16: return (i) => view.getFloat32(i * n, little);
    case 64: return (i) => view.getFloat64(i * n, little);
    case 1024: return (i) => Number(view.getBigInt64(i * n, little));
    default: return (i) => Number(view.getBigUint64(i * n, little));
  }
}

/** Bytes of a stream, as many as are asked for: nothing beyond them is unpacked. */
class Source {
  private readonly reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>;
  private rest = new Uint8Array(0);

  constructor(stream: ReadableStream<Uint8Array<ArrayBuffer>>) {
    this.reader = stream.getReader();
  }

  /** The next bytes up to `length` in all, `before` included; fewer at the end of the stream. */
  async take(length: number, before = new Uint8Array(0)): Promise<Uint8Array<ArrayBuffer>> {
    const out = new Uint8Array(length);
    out.set(before);
    let done = before.length;
    while (done < length) {
      if (!this.rest.length && !(await this.more())) return out.slice(0, done);
      const part = this.rest.subarray(0, length - done);
      out.set(part, done);
      done += part.length;
      this.rest = this.rest.subarray(part.length);
    }
    return out;
  }

  async skip(length: number): Promise<void> {
    while (length > 0) {
      if (!this.rest.length && !(await this.more())) return;
      const part = Math.min(length, this.rest.length);
      this.rest = this.rest.subarray(part);
      length -= part;
    }
  }

  close(): void {
    this.reader.cancel().catch(() => undefined);
  }

  private async more(): Promise<boolean> {
    const { value, done } = await this.reader.read();
    if (value) this.rest = value;
    return !done;
  }
}
