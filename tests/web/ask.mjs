// Calls functions of the page's numerics with arguments from standard input, a line of JSON at a time,
// and prints what they give.
// Arrays travel as {"t": "f4", "data": [...]} and, with a "shape", as volumes.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const KINDS = { f4: Float32Array, f8: Float64Array, u1: Uint8Array, i4: Int32Array };
const numerics = await import(pathToFileURL(process.argv[2]).href);

function decoded(value) {
  if (value === "NaN") return NaN;
  if (Array.isArray(value)) return value.map(decoded);
  if (value === null || typeof value !== "object") return value;
  if (value.t) {
    const data = KINDS[value.t].from(value.data);
    return value.shape ? { data, shape: value.shape } : data;
  }
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, decoded(inner)]));
}

function encoded(value) {
  if (Array.isArray(value)) return value.map(encoded);
  if (typeof value === "number" && !Number.isFinite(value)) return String(value);
  if (value === null || typeof value !== "object") return value;
  for (const [t, Kind] of Object.entries(KINDS)) {
    if (value instanceof Kind) return { t, data: Array.from(value, (v) => (Number.isFinite(v) ? v : String(v))) };
  }
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, encoded(inner)]));
}

/** A network without convolutions: what it gives depends on the voxel and on its place in the tile. */
function linear({ weights, slopes, biases }, count) {
  return async (tile) => {
    const each = tile.length / count;
    const out = new Float32Array(biases.length * each);
    biases.forEach((bias, k) => {
      for (let i = 0; i < each; i++) {
        let sum = bias + slopes[k] * (i / each);
        for (let c = 0; c < count; c++) sum += weights[k][c] * tile[c * each + i];
        out[k * each + i] = sum;
      }
    });
    return out;
  };
}

const file = (path) => numerics.readNifti(path.split("/").pop(), new Blob([readFileSync(path)]));

/** What needs more than plain arguments. */
const special = {
  async read(path) {
    const image = await file(path);
    const { raw, ...header } = image.header;
    return { header, channels: Array.from({ length: header.channels }, (_, c) => numerics.oriented(image, c, "")) };
  },
  async segment(path, model, network, crop) {
    const image = await file(path);
    const found = await numerics.predict(
      image, numerics.readDescription(JSON.stringify(model), "model"),
      linear(network, model.spec.in_channels), () => undefined, crop);
    return { ...found, file: numerics.niftiOf(found.labels, image.header) };
  },
  async follow(bright, channels, tile, least) {
    let looks = 0;
    const find = async (values) => {
      looks++;
      return Uint8Array.from(values, (v) => (v > bright ? 1 : 0));
    };
    return { mask: await numerics.follow(find, channels, tile, least, () => undefined), looks };
  },
  splineAt(x, y, degree, allowed, at) {
    const spline = numerics.smoothingSpline(x, y, degree, allowed);
    return at.map((place) => numerics.slope(spline, place));
  },
};

for await (const asked of createInterface({ input: process.stdin })) {
  const answers = [];
  for (const [name, ...words] of JSON.parse(asked)) {
    try {
      answers.push({ value: encoded(await (special[name] ?? numerics[name])(...decoded(words))) });
    } catch (error) {
      answers.push({ error: error.message });
    }
  }
  process.stdout.write(`${JSON.stringify(answers)}\n`);
}
