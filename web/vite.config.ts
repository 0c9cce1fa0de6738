/** The page: everything it needs in one folder, with relative addresses. */

import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { defineConfig, type Plugin } from "vite";

const ORT = "node_modules/onnxruntime-web/dist/";
const DCM = "node_modules/@niivue/dcm2niix/dist/";

/** Libraries that load files beside their own are copied as they are. */
const COPIED: Record<string, string> = {
  "ort/ort.wasm.min.mjs": `${ORT}ort.wasm.min.mjs`,
  "ort/ort.webgpu.min.mjs": `${ORT}ort.webgpu.min.mjs`,
  "ort/ort-wasm-simd-threaded.mjs": `${ORT}ort-wasm-simd-threaded.mjs`,
  "ort/ort-wasm-simd-threaded.wasm": `${ORT}ort-wasm-simd-threaded.wasm`,
  "ort/ort-wasm-simd-threaded.asyncify.mjs": `${ORT}ort-wasm-simd-threaded.asyncify.mjs`,
  "ort/ort-wasm-simd-threaded.asyncify.wasm": `${ORT}ort-wasm-simd-threaded.asyncify.wasm`,
  "dcm2niix/index.js": `${DCM}index.js`,
  "dcm2niix/worker.js": `${DCM}worker.js`,
  "dcm2niix/dcm2niix.js": `${DCM}dcm2niix.js`,
  "dcm2niix/dcm2niix.wasm": `${DCM}dcm2niix.wasm`,
};

/** Left for the browser to fetch when they are needed, not stored ahead by the service worker. */
const LATER = /asyncify|webgpu|dcm2niix/;

/** Codecs of image formats that this page does not open (zarr), half a megabyte of them. */
function left(): Plugin {
  return {
    name: "left",
    enforce: "pre",
    resolveId: (id) => (/^numcodecs\/(blosc|lz4|zstd)$/.test(id) ? "\0left" : null),
    load: (id) => (id === "\0left" ? "export default null;" : null),
  };
}

function copied(): Plugin {
  return {
    name: "copied",
    generateBundle() {
      for (const [fileName, from] of Object.entries(COPIED)) {
        this.emitFile({ type: "asset", fileName, source: readFileSync(from) });
      }
    },
  };
}

/** Licences of what is in the page: those of three packages that bring none lie in `licences/`. */
function licences(): Plugin {
  const lock = JSON.parse(readFileSync("package-lock.json", "utf8")) as {
    packages: Record<string, { version: string; license?: string; dev?: boolean }>;
  };
  const textOf = (folder: string) => {
    const own = `licences/${folder.split("/").pop()}.txt`;
    if (existsSync(own)) return readFileSync(own, "utf8");
    const name = readdirSync(folder).find((file) => /^licen[cs]e/i.test(file));
    return name ? readFileSync(`${folder}/${name}`, "utf8") : "";
  };
  return {
    name: "licences",
    generateBundle() {
      const texts = Object.entries(lock.packages)
        .filter(([folder, { dev }]) => folder && !dev && existsSync(folder))
        .map(([folder, { version, license }]) =>
          `${folder.replace("node_modules/", "")} ${version} (${license})\n\n${textOf(folder)}\n`);
      this.emitFile({ type: "asset", fileName: "licences.txt", source: texts.join(`${"-".repeat(78)}\n`) });
    },
  };
}

/** The service worker learns which files there are, and changes whenever one of them does. */
function listed(): Plugin {
  return {
    name: "listed",
    enforce: "post",
    generateBundle(_, bundle) {
      const files = Object.keys(bundle).filter((name) => name !== "sw.js").sort();
      const hash = createHash("sha256");
      for (const name of files) {
        const item = bundle[name];
        hash.update(name).update(item.type === "chunk" ? item.code : item.source);
      }
      const worker = bundle["sw.js"];
      if (worker?.type !== "chunk") throw new Error("sw.js is missing");
      const ahead = ["./", ...files.filter((name) => name !== "index.html" && !LATER.test(name))];
      worker.code = worker.code
        .replace(/__VERSION__/g, hash.digest("hex").slice(0, 16))
        .replace(/"__FILES__"/g, JSON.stringify(JSON.stringify(ahead)));
    },
  };
}

export default defineConfig({
  base: "./",
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 4000,
    rollupOptions: {
      input: { index: "index.html", sw: "src/sw.ts" },
      output: {
        entryFileNames: (chunk) => (chunk.name === "sw" ? "sw.js" : "assets/[name]-[hash].js"),
      },
    },
  },
  worker: { format: "es" },
  plugins: [left(), copied(), licences(), listed()],
});
