/** The page: what a person opens, sees, measures and saves. */

import { inWords, UserError } from "./errors";
import { measure, type Measures } from "./measure/areas";
import { slicesTsv, summaryTsv } from "./measure/tables";
import { cordRegion } from "./network/crop";
import { derivative, stem } from "./nifti/names";
import { readNifti, type Nifti } from "./nifti/read";
import { gzip, niftiOf } from "./nifti/write";
import { axcodesOf } from "./numerics/orientation";
import { turn } from "./numerics/volume";
import { areDicom, dropped, fromDicom, sorted } from "./page/files";
import { colourOf, css, masksOf, type Mask } from "./page/masks";
import { plot } from "./page/plot";
import { Reviews, type Verdict } from "./page/review";
import { Cancelled, Segmenter, WorkerError, type Told } from "./page/segmenter";
import { keepOffline, namedFiles } from "./page/start";
import { slicesTable, summaryTable } from "./page/table";
import { Viewer } from "./page/viewer";

interface Listed {
  models: { name: string; path: string; summary: string; regions: string[]; licence: string }[];
  offline: boolean; // whether a service worker keeps the page
}

interface Scan {
  file: File;
  nifti: Nifti;
}

const BASE = new URL("./", document.baseURI).href;
const el = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;

const viewer = new Viewer(el<HTMLCanvasElement>("canvas"), (text) => (el("place").textContent = text));
const segmenter = new Segmenter();
const reviews = new Reviews();
let models: Listed["models"] = [];
let scan: Scan | null = null;
let masks: Mask[] = [];
let measures: Measures[] = [];
let labelMap: Uint8Array | null = null; // of the model; masks from files are joined in order
let busy = false;

async function begin(): Promise<void> {
  const answer = await fetch(`${BASE}models.json`);
  if (!answer.ok) throw new Error(`models.json: the server answers ${answer.status}`);
  const listed = (await answer.json()) as Listed;
  models = listed.models;
  el<HTMLSelectElement>("model").replaceChildren(
    ...models.map(({ name, summary }) => new Option(`${name}: ${summary}`, name)));
  showModel();
  wire();
  if (listed.offline) void keepOffline(BASE, () => !scan && !busy);
  const named = await namedFiles(BASE);
  await guarded(async () => {
    await openScans(named.scans);
    await addMasks(named.masks);
  });
  document.body.dataset.ready = "yes";
}

function wire(): void {
  const choose = (button: string, input: string, use: (files: File[]) => Promise<void>) => {
    const field = el<HTMLInputElement>(input);
    el(button).addEventListener("click", () => field.click());
    field.addEventListener("change", () => {
      const files = Array.from(field.files ?? []);
      field.value = "";
      if (files.length) void guarded(() => use(files));
    });
  };
  choose("open", "file", openFiles);
  choose("open-dicom", "folder", openDicom);
  choose("open-masks", "mask-files", addMasks);
  el("run").addEventListener("click", () => void guarded(segment));
  el("cancel").addEventListener("click", () => segmenter.cancel());
  el("model").addEventListener("change", showModel);
  el("series").addEventListener("change", () => void guarded(openSeries));
  el("labels").addEventListener("change", () => viewer.setShown(el<HTMLInputElement>("labels").checked));
  el("opacity").addEventListener("input", () => viewer.setOpacity(Number(el<HTMLInputElement>("opacity").value)));
  el("save-labels").addEventListener("click", () => void guarded(saveLabels));
  el("save-summary").addEventListener("click", () => saveTable("summary", summaryTsv(measures)));
  el("save-table").addEventListener("click", () => saveTable("areas", slicesTsv(measures)));
  el("keep-review").addEventListener("click", () => void guarded(keepReview));
  el("save-reviews").addEventListener("click", () =>
    save(new Blob([reviews.toTsv()], { type: "text/tab-separated-values" }), "score-jax_verdicts.tsv"));
  document.addEventListener("keydown", (event) => {
    const typing = (event.target as HTMLElement).matches("input[type=text], textarea, select");
    if (event.key !== "m" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    el<HTMLInputElement>("labels").click();
  });
  addEventListener("beforeunload", (event) => {
    if (reviews.unsaved) event.preventDefault();
  });
  wireDrops();
}

function wireDrops(): void {
  const mark = (on: boolean) => document.body.classList.toggle("dropping", on);
  addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(true);
  });
  addEventListener("dragleave", (event) => mark(event.relatedTarget !== null));
  addEventListener("drop", (event) => {
    event.preventDefault();
    mark(false);
    const items = event.dataTransfer?.items;
    if (items) {
      const files = dropped(items); // before the event ends, or the items are gone
      void guarded(async () => openFiles(await files));
    }
  });
}

/** Run something a person asked for; what goes wrong is shown in words. */
async function guarded(work: () => Promise<void>): Promise<void> {
  if (busy) return;
  setBusy(true);
  showError("");
  try {
    await work();
  } catch (error) {
    if (error instanceof Cancelled) el("status").textContent = "Cancelled.";
    else {
      el("status").textContent = "";
      // what the worker says is in words already
      showError(error instanceof WorkerError ? error.message : inWords(error));
    }
  } finally {
    setBusy(false);
  }
}

function setBusy(value: boolean): void {
  busy = value;
  const set = (id: string, off: boolean) => (el<HTMLButtonElement>(id).disabled = off);
  for (const id of ["open", "open-dicom"]) set(id, value);
  set("open-masks", value || !scan);
  set("run", value || !scan || !models.length);
  document.body.dataset.busy = value ? "yes" : "no";
}

function showError(text: string): void {
  el("error").textContent = text;
  el("error").hidden = !text;
}

async function openFiles(files: File[]): Promise<void> {
  if (areDicom(files)) return openDicom(files);
  const given = sorted(files);
  if (given.scans.length || !scan) {
    if (given.scans.length > 1) showSeries(given.scans);
    await openScans(given.scans.length ? given.scans : given.masks.splice(0, 1));
  }
  await addMasks(given.masks);
}

let series: File[] = [];

async function openDicom(files: File[]): Promise<void> {
  el("status").textContent = `Reading ${files.length} DICOM files …`;
  const made = await fromDicom(files, BASE);
  el("status").textContent = "";
  showSeries(made);
  await openScan(made[0]);
}

async function openScans(files: File[]): Promise<void> {
  if (!files.length) return;
  if (files.length === 1) el("series-choice").hidden = true;
  await openScan(files[0]);
}

function showSeries(files: File[]): void {
  series = files;
  el<HTMLSelectElement>("series").replaceChildren(...files.map(({ name }, n) => new Option(name, String(n))));
  el("series-choice").hidden = files.length < 2;
}

const openSeries = () => openScan(series[Number(el<HTMLSelectElement>("series").value)]);

async function openScan(file: File): Promise<void> {
  const nifti = await readNifti(file.name, file);
  await viewer.show(file);
  scan = { file, nifti };
  setMasks([], null);
  const { header } = nifti;
  const facts = [
    file.name,
    `${header.shape.join(" × ")}${header.channels > 1 ? ` × ${header.channels} channels` : ""} voxels of ` +
      `${header.spacing.map((mm) => Number(mm.toPrecision(4))).join(" × ")} mm, ${axcodesOf(header.affine)}`,
    ...header.notes,
  ];
  el("scan-facts").textContent = facts.join("; ");
  el("status").textContent = "";
  const kept = reviews.get(file.name);
  for (const input of document.querySelectorAll<HTMLInputElement>("input[name=verdict]")) {
    input.checked = input.value === kept?.verdict;
  }
  el<HTMLTextAreaElement>("comment").value = kept?.comment ?? "";
  el("review").hidden = false;
}

async function addMasks(files: File[]): Promise<void> {
  if (!files.length) return;
  if (!scan) throw new UserError("masks need a scan", "open the scan first");
  const added: Mask[] = [];
  const notes: string[] = [];
  for (const file of files) {
    const found = masksOf(await readNifti(file.name, file), scan.nifti, masks.length + added.length);
    added.push(...found.masks);
    if (found.note) notes.push(found.note);
  }
  await setMasks([...masks, ...added], null);
  el("status").textContent = notes.join("; ");
}

async function segment(): Promise<void> {
  if (!scan) return;
  const model = models.find(({ name }) => name === el<HTMLSelectElement>("model").value);
  if (!model) throw new UserError("no model is here", "run score-jax view, or score-jax export --format web");
  const started = performance.now();
  const bar = el<HTMLProgressElement>("progress");
  bar.hidden = false;
  bar.removeAttribute("value");
  el<HTMLButtonElement>("cancel").disabled = false;
  let told: Told = { kind: "progress", stage: "model", done: 0, total: 1 };
  const show = () => {
    const seconds = (performance.now() - started) / 1000;
    el("status").textContent = `${STAGES[told.stage]}${told.total > 1 ? ` ${told.done} of ${told.total}` : ""}; ${seconds.toFixed(0)} s`;
    if (told.total > 1) bar.value = told.done / told.total;
  };
  const ticking = setInterval(show, 500);
  try {
    const { found, where } = await segmenter.run(
      { name: scan.file.name, file: scan.file, model: BASE + model.path, base: BASE, gpu: true },
      (news) => {
        told = news;
        show();
      });
    const seconds = (performance.now() - started) / 1000;
    const made = found.masks.map(({ name, values }, n) => ({ name, values, colour: colourOf(n) }));
    await setMasks(made, found.labels);
    const parts = Object.entries(found.seconds).filter(([, s]) => s >= 0.05).map(([name, s]) => `${name} ${s.toFixed(1)}`);
    el("status").textContent =
      `Done in ${seconds.toFixed(1)} s (${parts.join(", ")}); ${found.tiles} tiles on ${where}` +
      (found.cropped ? "; cropped to the cord" : "");
  } finally {
    clearInterval(ticking);
    bar.hidden = true;
    el<HTMLButtonElement>("cancel").disabled = true;
  }
}

const STAGES: Record<Told["stage"], string> = {
  model: "Opening the model",
  preprocess: "Preparing the scan",
  locate: "Looking for the cord",
  network: "Segmenting, tile",
  postprocess: "Cleaning the masks",
};

async function setMasks(next: Mask[], labels: Uint8Array | null): Promise<void> {
  masks = next;
  labelMap = labels;
  viewer.clear();
  if (scan) {
    for (const { name, values, colour } of masks) {
      await viewer.add(new File([niftiOf(values, scan.nifti.header)], `${name}.nii`), colour);
    }
  }
  showMasks();
  showMeasures();
  goToMasks();
}

/** The cursor into the middle of the first mask that holds anything. */
function goToMasks(): void {
  if (!scan) return;
  const { affine, shape: [nx, ny] } = scan.nifti.header;
  for (const { values } of masks) {
    const inside: number[] = [];
    for (let i = 0; i < values.length; i++) if (values[i]) inside.push(i);
    if (!inside.length) continue;
    // the middle one of the slice that holds the middle one of all
    const slice = Math.floor(inside[inside.length >> 1] / (nx * ny));
    const here = inside.filter((i) => Math.floor(i / (nx * ny)) === slice);
    const at = here[here.length >> 1];
    const voxel = [at % nx, Math.floor(at / nx) % ny, slice, 1];
    const [x, y, z] = affine.map((row) => row.reduce((sum, value, i) => sum + value * voxel[i], 0));
    viewer.goTo([x, y, z]);
    return;
  }
}

function showMasks(): void {
  el("masks").hidden = !masks.length;
  el("mask-list").replaceChildren(...masks.map((mask, n) => {
    const item = document.createElement("li");
    const label = document.createElement("label");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = true;
    box.addEventListener("change", () => viewer.setVisible(n, box.checked));
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = css(mask.colour);
    label.append(box, swatch, mask.name);
    const button = document.createElement("button");
    button.textContent = "Save";
    button.setAttribute("aria-label", `Save mask ${mask.name}`);
    button.addEventListener("click", () => void guarded(() => saveMask(mask)));
    item.append(label, button);
    return item;
  }));
}

function showMeasures(): void {
  el("measures").hidden = !masks.length;
  measures = [];
  if (!scan || !masks.length) return;
  const [x, y, z] = scan.nifti.header.shape;
  const volumes = masks.map(({ name, values }) => ({ name, mask: turn({ data: values, shape: [z, y, x] }, [2, 1, 0]) }));
  const cord = cordRegion(masks.map(({ name }) => ({ name })));
  const guide = volumes.find(({ name }) => name === cord)?.mask ?? null;
  measures = measure(volumes, scan.nifti.header.affine, guide);
  el("summary").replaceChildren(summaryTable(measures));
  el("plot").replaceChildren(plot(measures, masks.map(({ colour }) => css(colour))));
  el("slices").replaceChildren(slicesTable(measures));
}

function showModel(): void {
  const model = models.find(({ name }) => name === el<HTMLSelectElement>("model").value);
  el("model-facts").textContent = model
    ? `Finds ${model.regions.join(", ")}. ${model.licence}.`
    : "No model is here: this page shows scans and masks only.";
}

async function saveMask(mask: Mask): Promise<void> {
  if (scan) await saveNifti(mask.values, derivative(scan.file.name, "mask", mask.name));
}

async function saveLabels(): Promise<void> {
  if (!scan) return;
  let values = labelMap;
  if (values === null) {
    values = new Uint8Array(masks[0].values.length);
    masks.forEach((mask, n) => {
      for (let i = 0; i < mask.values.length; i++) if (mask.values[i]) (values as Uint8Array)[i] = n + 1;
    });
  }
  await saveNifti(values, derivative(scan.file.name, "dseg"));
}

async function saveNifti(values: Uint8Array, name: string): Promise<void> {
  if (scan) save(await gzip(niftiOf(values, scan.nifti.header)), name);
}

function saveTable(what: string, text: string): void {
  if (scan) save(new Blob([text], { type: "text/tab-separated-values" }), `${stem(scan.file.name)}_${what}.tsv`);
}

async function keepReview(): Promise<void> {
  const verdict = document.querySelector<HTMLInputElement>("input[name=verdict]:checked")?.value;
  if (!scan || !verdict) throw new UserError("no verdict is chosen", "choose pass, fail or unsure");
  reviews.keep({
    scan: scan.file.name,
    masks: masks.map(({ name }) => name),
    verdict: verdict as Verdict,
    comment: el<HTMLTextAreaElement>("comment").value.trim(),
    reviewer: el<HTMLInputElement>("reviewer").value.trim(),
    date: new Date().toISOString(),
  });
  const button = el<HTMLButtonElement>("save-reviews");
  button.textContent = `Save verdicts (${reviews.count})`;
  button.disabled = false;
  el("status").textContent = `Kept: ${verdict}.`;
}

function save(content: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

begin().catch((error: unknown) => showError(`The page could not start: ${inWords(error)}`));
