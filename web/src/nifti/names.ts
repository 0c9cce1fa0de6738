/** Names of derived files (`score_jax.imaging.bids`). */

const ORDER = [
  "sub", "ses", "sample", "task", "tracksys", "acq", "ce", "trc", "stain", "rec", "dir", "run", "mod",
  "echo", "flip", "inv", "mt", "part", "proc", "hemi", "space", "split", "recording", "chunk", "seg",
  "res", "den", "label", "desc",
];
const EXTENSION = /\.(nii\.gz|nii|json|tsv|csv)$/i;

/** The file's name without its extension. */
export const stem = (name: string): string => name.replace(EXTENSION, "");

/** The name of a mask (one structure) or of a label map derived from `image`. */
export function derivative(image: string, kind: "mask" | "dseg", label = ""): string {
  const clean = (text: string) => text.replace(/[^a-zA-Z0-9+]/g, "");
  const { entities, suffix } = parse(image);
  const added: [string, string][] = label ? [["label", clean(label)]] : [];
  if (!entities.some(([key]) => key === "sub")) {
    return `${suffix}${added.map(([key, value]) => `_${key}-${value}`).join("")}_${kind}.nii.gz`;
  }
  if (!entities.some(([key]) => key === "acq" || key === "desc")) added.push(["desc", clean(suffix)]);
  const all = new Map([...entities, ...added.filter(([, value]) => value)]);
  const rank = (key: string) =>
    ORDER.includes(key) ? ORDER.indexOf(key) : ORDER.indexOf("label") - 0.5;
  const sorted = [...all].sort(([a], [b]) => rank(a) - rank(b));
  return `${[...sorted.map(([key, value]) => `${key}-${value}`), kind].join("_")}.nii.gz`;
}

/** Whether a file's name says that it is a mask or a label map. */
export const looksLikeMask = (name: string): boolean =>
  /(_mask|_dseg|_seg|gmseg|[_-]manual|_label-|[_-]lesion|[_-]mask)/i.test(stem(name));

function parse(name: string): { entities: [string, string][]; suffix: string } {
  const whole = stem(name);
  const entities: [string, string][] = [];
  if (!whole.startsWith("sub-")) return { entities, suffix: whole };
  const parts = whole.split("_");
  for (let i = 0; i < parts.length; i++) {
    const found = /^([a-zA-Z]+)-([a-zA-Z0-9+.]+)$/.exec(parts[i]);
    if (!found || entities.some(([key]) => key === found[1])) {
      return { entities, suffix: parts.slice(i).join("_") };
    }
    entities.push([found[1], found[2]]);
  }
  return { entities, suffix: "" };
}
