/** onnxruntime in WebAssembly, or on WebGPU where there is one that agrees with it. */

import type { InferenceSession, Tensor } from "onnxruntime-web/wasm";
import { UserError } from "../errors";
import type { Network } from "../numerics/tiling";
import { outputsOf, type Spec } from "./description";

export interface Runtime {
  network: Network;
  where(): string; // in words
}

const AGREES = 1e-2; // largest difference of logits, as a share of the largest, that WebGPU may have

interface Ort {
  InferenceSession: typeof InferenceSession;
  Tensor: typeof Tensor;
  env: { wasm: { numThreads?: number; wasmPaths?: unknown }; logLevel?: string };
}

/** The network of an ONNX file. Throws a `UserError` for a file that is no model. */
export async function open(model: Uint8Array, spec: Spec, base: string, gpu: boolean): Promise<Runtime> {
  const ort = await wasm(base);
  const threads = ort.env.wasm.numThreads ?? 1;
  const cpu = await networkOf(ort, model, spec, "wasm");
  const words = `WebAssembly, ${threads} ${threads === 1 ? "thread" : "threads"}`;
  const onCpu = { network: cpu, where: () => words };
  // its WebGPU has no transposed convolutions in 3-D
  if (!gpu || spec.tile.length > 2 || !(await hasWebGpu())) return onCpu;
  try {
    return checked(await networkOf(await webgpu(base), model, spec, "webgpu"), onCpu);
  } catch {
    return onCpu;
  }
}

const wasm = (base: string) => library(base, "ort.wasm.min.mjs", "ort-wasm-simd-threaded");
const webgpu = (base: string) => library(base, "ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify");

/** onnxruntime as its authors built it: it starts threads from its own files, which bundlers break. */
async function library(base: string, entry: string, file: string): Promise<Ort> {
  const ort = (await import(/* @vite-ignore */ `${base}ort/${entry}`)) as Ort;
  ort.env.logLevel = "error";
  // threads need shared memory, which needs the isolation headers
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 8) : 1;
  ort.env.wasm.wasmPaths = { wasm: `${base}ort/${file}.wasm`, mjs: `${base}ort/${file}.mjs` };
  return ort;
}

async function networkOf(ort: Ort, model: Uint8Array, spec: Spec, provider: string): Promise<Network> {
  let session: InferenceSession;
  try {
    session = await ort.InferenceSession.create(model, { executionProviders: [provider] });
  } catch (error) {
    throw new UserError(`the model could not be opened (${String(error).split("\n")[0]})`);
  }
  const channels = spec.in_channels;
  const outputs = outputsOf(spec);
  return async (tile) => {
    const input = new ort.Tensor("float32", tile, [1, channels, ...spec.tile]);
    const { logits } = await session.run({ image: input });
    const values = (await logits.getData()) as Float32Array;
    if (values.length !== (tile.length / channels) * outputs) {
      throw new UserError(`the model gave ${values.length} numbers for a tile of ${tile.length}`);
    }
    return values;
  };
}

/** `fast` on WebGPU, if its answer to the first tile is that of `sure`; else `sure`. */
function checked(fast: Network, sure: Runtime): Runtime {
  let chosen: Network | null = null;
  const network: Network = async (tile) => {
    if (chosen) return chosen(tile);
    const right = await sure.network(tile.slice());
    let agrees = false;
    try {
      const values = await fast(tile);
      const most = right.reduce((a, v) => Math.max(a, Math.abs(v)), 1e-6);
      agrees = values.every((v, i) => Math.abs(v - right[i]) <= AGREES * most);
    } catch {
      agrees = false;
    }
    chosen = agrees ? fast : sure.network;
    return right;
  };
  return { network, where: () => (chosen === fast ? "WebGPU" : sure.where()) };
}

async function hasWebGpu(): Promise<boolean> {
  const gpu = (navigator as Navigator & { gpu?: { requestAdapter(): Promise<unknown> } }).gpu;
  try {
    return Boolean(await gpu?.requestAdapter());
  } catch {
    return false;
  }
}
