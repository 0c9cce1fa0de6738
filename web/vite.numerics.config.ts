/** The numerics alone as one module, for the tests in Node. */

import { defineConfig } from "vite";

export default defineConfig({
  build: {
    target: "es2022",
    emptyOutDir: false,
    copyPublicDir: false,
    lib: { entry: "src/numerics/index.ts", formats: ["es"], fileName: () => "numerics.js" },
  },
});
