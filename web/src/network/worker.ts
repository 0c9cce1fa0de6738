/** Segments scans in a thread of its own; the page ends it to cancel. */

import { inWords } from "../errors";
import { readNifti } from "../nifti/read";
import { readDescription, type Description } from "./description";
import { predict, type Found, type Stage } from "./predict";
import { open, type Runtime } from "./runtime";

export interface Request {
  name: string;
  file: Blob;
  model: string; // folder of the models, and its name
  base: string; // folder of the page
  gpu: boolean;
}

export type Reply =
  | { kind: "progress"; stage: Stage | "model"; done: number; total: number }
  | { kind: "found"; found: Found; where: string; model: Description }
  | { kind: "failed"; message: string };

const opened = new Map<string, Promise<{ model: Description; runtime: Runtime }>>();

self.onmessage = async ({ data }: MessageEvent<Request>) => {
  const tell = (reply: Reply, transfer: Transferable[] = []) => self.postMessage(reply, { transfer });
  try {
    const image = await readNifti(data.name, data.file);
    tell({ kind: "progress", stage: "model", done: 0, total: 1 });
    let pending = opened.get(data.model);
    if (!pending) opened.set(data.model, (pending = load(data)));
    const { model, runtime } = await pending;
    const found = await predict(image, model, runtime.network, (stage, done, total) =>
      tell({ kind: "progress", stage, done, total }));
    const buffers = [...found.masks.map(({ values }) => values.buffer), found.labels.buffer];
    tell({ kind: "found", found, where: runtime.where(), model }, buffers as ArrayBuffer[]);
  } catch (error) {
    opened.clear();
    tell({ kind: "failed", message: inWords(error) });
  }
};

async function load({ model: path, base, gpu }: Request) {
  const model = readDescription(await (await fetched(`${path}.onnx.json`)).text(), `${path}.onnx.json`);
  const bytes = new Uint8Array(await (await fetched(`${path}.onnx`)).arrayBuffer());
  return { model, runtime: await open(bytes, model.spec, base, gpu) };
}

async function fetched(path: string): Promise<Response> {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: the server answers ${answer.status}`);
  return answer;
}
