/** The numerics alone, for tests outside a browser (built as `numerics.js`). */

export { measure, tiltOf } from "../measure/areas";
export { slope, smoothingSpline } from "../measure/smoothing";
export { slicesTsv, summaryTsv } from "../measure/tables";
export { boxAround, cordRegion, follow, widened } from "../network/crop";
export { readDescription } from "../network/description";
export { predict } from "../network/predict";
export { derivative, looksLikeMask, stem } from "../nifti/names";
export { channelOf, oriented, readNifti } from "../nifti/read";
export { niftiOf } from "../nifti/write";
export { boundingBox, components, fillHoles } from "./components";
export { gaussianWindow, tileStarts } from "./grid";
export { ct, highpass, rescale, zscore } from "./intensity";
export { axcodesOf, reorientation } from "./orientation";
export { prepare, resampleBack, uncrop } from "./prepare";
export { clean, labelsFromMasks, masksFromLogits } from "./regions";
export { coarseAxis, resample, resampledShape } from "./resample";
export { splineMatrix } from "./spline";
export { countTiles, tiled } from "./tiling";
export { roundEven, turn } from "./volume";
