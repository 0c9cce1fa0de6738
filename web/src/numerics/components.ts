/** Connected components, holes and boxes of masks (`score_jax.arrays.components`). */

import { type Box, type Shape, type Volume } from "./volume";

type Mask = Volume<Uint8Array>;

/** The smallest box around everything that is not 0, or null for an empty mask. */
export function boundingBox(mask: Mask): Box | null {
  const [nx, ny, nz] = mask.shape;
  const low = [nx, ny, nz];
  const high = [-1, -1, -1];
  let index = 0;
  for (let x = 0; x < nx; x++) {
    for (let y = 0; y < ny; y++) {
      for (let z = 0; z < nz; z++) {
        if (!mask.data[index++]) continue;
        if (x < low[0]) low[0] = x;
        if (x > high[0]) high[0] = x;
        if (y < low[1]) low[1] = y;
        if (y > high[1]) high[1] = y;
        if (z < low[2]) low[2] = z;
        if (z > high[2]) high[2] = z;
      }
    }
  }
  if (high[0] < 0) return null;
  return [[low[0], high[0] + 1], [low[1], high[1] + 1], [low[2], high[2] + 1]];
}

/**
 * Components that touch by faces, edges or corners: a label for each voxel (0 is background) and
 * the number of voxels of each label, from 1 on. Labels are in no promised order.
 */
export function components(mask: Mask): { labels: Int32Array; sizes: number[] } {
  return flood(mask.data, mask.shape, 26);
}

/** The mask with its holes filled: background that no path of faces joins to the edge. */
export function fillHoles(mask: Mask): Mask {
  const [nx, ny, nz] = mask.shape;
  const background = mask.data.map((value) => (value ? 0 : 1));
  const { labels, sizes } = flood(background, mask.shape, 6);
  const open = new Uint8Array(sizes.length + 1);
  let index = 0;
  for (let x = 0; x < nx; x++) {
    for (let y = 0; y < ny; y++) {
      for (let z = 0; z < nz; z++, index++) {
        const edge = x === 0 || y === 0 || z === 0 || x === nx - 1 || y === ny - 1 || z === nz - 1;
        if (edge && labels[index]) open[labels[index]] = 1;
      }
    }
  }
  const data = mask.data.map((value, i) => (value || !open[labels[i]] ? 1 : 0));
  return { data, shape: mask.shape };
}

function flood(
  data: Uint8Array, shape: Shape, neighbours: 6 | 26,
): { labels: Int32Array; sizes: number[] } {
  const [nx, ny, nz] = shape;
  const steps = stepsTo(neighbours);
  const labels = new Int32Array(data.length);
  const sizes: number[] = [];
  const stack: number[] = [];
  for (let seed = 0; seed < data.length; seed++) {
    if (!data[seed] || labels[seed]) continue;
    const label = sizes.length + 1;
    labels[seed] = label;
    stack.push(seed);
    let count = 0;
    while (stack.length) {
      const at = stack.pop() as number;
      count++;
      const z = at % nz;
      const y = ((at - z) / nz) % ny;
      const x = Math.floor(at / (ny * nz));
      for (const [dx, dy, dz] of steps) {
        const [u, v, w] = [x + dx, y + dy, z + dz];
        if (u < 0 || v < 0 || w < 0 || u >= nx || v >= ny || w >= nz) continue;
        const next = (u * ny + v) * nz + w;
        if (!data[next] || labels[next]) continue;
        labels[next] = label;
        stack.push(next);
      }
    }
    sizes.push(count);
  }
  return { labels, sizes };
}

function stepsTo(neighbours: 6 | 26): number[][] {
  const steps: number[][] = [];
  for (const x of [-1, 0, 1]) {
    for (const y of [-1, 0, 1]) {
      for (const z of [-1, 0, 1]) {
        const moved = Math.abs(x) + Math.abs(y) + Math.abs(z);
        if (moved && (neighbours === 26 || moved === 1)) steps.push([x, y, z]);
      }
    }
  }
  return steps;
}
