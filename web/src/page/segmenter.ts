/** Runs the segmentation worker; ending it is how a run is cancelled. */

import type { Reply, Request } from "../network/worker";

export type Found = Extract<Reply, { kind: "found" }>;
export type Told = Extract<Reply, { kind: "progress" }>;

export class Cancelled extends Error {}

/** What went wrong in the worker, in words. */
export class WorkerError extends Error {}

export class Segmenter {
  private worker: Worker | null = null;
  private stop: ((reason: Error) => void) | null = null;

  /** Segment; rejects with `Cancelled`, or with the worker's message. */
  run(request: Request, onProgress: (told: Told) => void): Promise<Found> {
    const worker = (this.worker ??= new Worker(new URL("../network/worker.ts", import.meta.url), { type: "module" }));
    return new Promise<Found>((done, failed) => {
      this.stop = failed;
      worker.onmessage = ({ data }: MessageEvent<Reply>) => {
        if (data.kind === "progress") onProgress(data);
        else if (data.kind === "found") done(data);
        else failed(new WorkerError(data.message));
      };
      worker.onerror = (event) => {
        this.end();
        failed(new WorkerError(`the segmentation stopped (${event.message || "not enough memory?"})`));
      };
      worker.postMessage(request);
    });
  }

  cancel(): void {
    this.end();
    this.stop?.(new Cancelled("cancelled"));
  }

  private end(): void {
    this.worker?.terminate();
    this.worker = null;
  }
}
