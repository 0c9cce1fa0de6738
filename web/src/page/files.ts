/** Files a person gives: chosen or dropped, NIfTI or a folder of DICOM. */

import { UserError } from "../errors";
import { looksLikeMask } from "../nifti/names";

export interface Given {
  scans: File[];
  masks: File[];
}

const NIFTI = /\.nii(\.gz)?$/i;

/** Everything in a drop, folders followed. */
export async function dropped(items: DataTransferItemList): Promise<File[]> {
  const entries = Array.from(items, (item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  return (await Promise.all(entries.map(filesOf))).flat();
}

/** Scans and masks, told by their names; what lies beside NIfTI files (sidecars) is left out. */
export function sorted(files: readonly File[]): Given {
  const images = files.filter(({ name }) => NIFTI.test(name));
  const kept = images.length ? images : files;
  return {
    scans: kept.filter(({ name }) => !looksLikeMask(name)),
    masks: kept.filter(({ name }) => looksLikeMask(name)),
  };
}

/** Whether the files are to be read as DICOM: several, or one, none of which is NIfTI. */
export const areDicom = (files: readonly File[]): boolean =>
  files.length > 1 && !files.some(({ name }) => NIFTI.test(name));

interface Dcm2niix {
  init(): Promise<boolean>;
  worker: Worker;
  input(files: readonly File[]): { b(v: string): { z(v: string): { run(): Promise<File[]> } } };
}

/** The series of a DICOM folder as NIfTI files, by dcm2niix in WebAssembly. */
export async function fromDicom(files: readonly File[], base: string): Promise<File[]> {
  const { Dcm2niix } = (await import(/* @vite-ignore */ `${base}dcm2niix/index.js`)) as {
    Dcm2niix: new () => Dcm2niix;
  };
  const converter = new Dcm2niix();
  try {
    await converter.init();
    const made = await converter.input(files).b("n").z("n").run();
    const series = made.filter(({ name }) => NIFTI.test(name));
    if (!series.length) {
      throw new UserError(`none of the ${files.length} files became an image`,
        "open a NIfTI file, or a folder with one DICOM series");
    }
    return series;
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`the ${files.length} files could not be read as DICOM`, "convert them with dcm2niix");
  } finally {
    converter.worker?.terminate();
  }
}

async function filesOf(entry: FileSystemEntry): Promise<File[]> {
  if (entry.isFile) {
    return new Promise((done, failed) =>
      (entry as FileSystemFileEntry).file((file) => done([file]), failed));
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const inside: File[] = [];
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((done, failed) => reader.readEntries(done, failed));
    if (!some.length) return inside;
    inside.push(...(await Promise.all(some.map(filesOf))).flat());
  }
}
