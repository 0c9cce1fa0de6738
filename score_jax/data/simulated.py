"""A simulated cohort as a BIDS dataset: images, truth and raters, written whole or not at all."""

import os
import secrets
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import score_jax
from score_jax._types import PathLike
from score_jax.errors import OutputError
from score_jax.imaging import Volume, save, write_json, write_text, write_tsv
from score_jax.imaging.bids import derivative, derivative_folder, write_description
from score_jax.phantom import Cohort, Patient, Scan

_COLUMNS = {
    "group": "HC: healthy control, MS: multiple sclerosis, SCI: spinal cord injury, DCM: "
    "degenerative cervical myelopathy",
    "age": "years",
    "sex": "F or M",
    "tiv_l": "total intracranial volume, litres",
    "disease_type": "RR: relapsing-remitting, SP: secondary, PP: primary progressive",
    "disease_duration": "years",
    "edss": "Expanded Disability Status Scale, 0 to 8 in steps of .5",
    "site": "hospital (simulated)",
    "origin": "of the injury",
    "injury": "type of the simulated lesion",
    "days_to_mri": "days from injury to MRI",
    "level": "vertebral level of the lesion's middle",
    "implant": "whether metal implants are present",
    "field_t": "field strength, tesla",
    "lesion_s_mm": "lesion's middle along the cord, mm above the C2/C3 disc",
    "severity": "0 to 1: scales the lesion within the range of its type",
    "central_canal_mm": "radius of a central canal that shows on T2w; n/a: none does",
    "pinprick": "ISNCSCI pinprick score, 0 to 112",
    "light_touch": "ISNCSCI light-touch score, 0 to 112",
    "lems": "lower-extremity motor score, 0 to 50",
}
_INTENSITY_TOP = 32000  # int16 holds every intensity up to here


def write_cohort(
    out: PathLike, cohort: Cohort, *, on_patient: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Write a cohort as BIDS; `out` appears only when all of it is there.

    Args:
      out: a folder that does not exist yet, or is empty.
      cohort: from `score_jax.phantom`.
      on_patient: called after each patient with its number and the total.

    Returns:
      What was written: counts of subjects, scans and masks, and the folder.

    Raises:
      OutputError: `out` holds something already.
    """
    target = Path(out)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise OutputError(
            f"{target}: already holds something; expected a new or empty folder",
            hint="choose another folder, or remove this one",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = target.parent / f".{target.name}.{secrets.token_hex(4)}"
    try:
        counts = _write(staging, cohort, on_patient)
        if target.exists():
            target.rmdir()
        os.replace(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return {"out": str(target), **counts}


def _write(
    root: Path, cohort: Cohort, on_patient: Callable[[int, int], None] | None
) -> dict[str, int]:
    counts = {"subjects": 0, "scans": 0, "masks": 0}
    pipelines: set[str] = set()
    areas: list[dict[str, Any]] = []
    # one patient is compressed while the next is made; never more than two are held
    with ThreadPoolExecutor(max_workers=1) as writer:
        pending: Future[int] | None = None
        for number, patient in enumerate(cohort, 1):
            counts["masks"] += pending.result() if pending else 0
            pending = writer.submit(_write_patient, root, patient)
            for scan in patient.scans:
                pipelines |= {"truth", *scan.raters}
                areas.extend(_areas(patient, scan))
            counts["scans"] += len(patient.scans)
            counts["subjects"] += 1
            if on_patient is not None:
                on_patient(number, len(cohort))
        counts["masks"] += pending.result() if pending else 0
    _write_tables(root, cohort, pipelines, areas)
    return counts


def _write_patient(root: Path, patient: Patient) -> int:
    """Images and masks of one patient; how many masks there were."""
    masks_written = 0
    for scan in patient.scans:
        image = _image_path(root, patient, scan)
        _write_image(image, scan)
        for pipeline, masks in {"truth": scan.truth, **scan.raters}.items():
            folder = derivative_folder(root, image, pipeline)
            like = Volume(scan.image, scan.affine)
            for label, mask in masks.items():
                save(folder / derivative(image, "mask", label=label), mask, like)
                masks_written += 1
    return masks_written


def _image_path(root: Path, patient: Patient, scan: Scan) -> Path:
    session = f"ses-{scan.session:02d}"
    names = {"axial": "ax", "sagittal": "sag", "isotropic": "iso"}
    acq = "" if scan.contrast == "AMIRA" else f"_acq-{names[scan.acquisition]}"
    name = f"sub-{patient.name}_{session}{acq}_{scan.contrast}.nii.gz"
    return root / f"sub-{patient.name}" / session / "anat" / name


def _write_image(path: Path, scan: Scan) -> None:
    # whole numbers, as scanners store; they also compress
    values = scan.image.clip(0, _INTENSITY_TOP).round()
    save(path, values, Volume(values, scan.affine), dtype="int16")
    notes = {key: value for key, value in scan.notes.items() if value is not None}
    write_json(path.with_name(path.name.removesuffix(".nii.gz") + ".json"), notes)


def _areas(patient: Patient, scan: Scan) -> list[dict[str, Any]]:
    """True areas (mm2) of each structure in each axial slice, from sub-voxel shares."""
    if not scan.areas_mm2:
        return []
    count = len(next(iter(scan.areas_mm2.values())))
    return [
        {
            "participant_id": f"sub-{patient.name}",
            "session": f"ses-{scan.session:02d}",
            "slice": z,
            **{name: round(float(values[z]), 3) for name, values in scan.areas_mm2.items()},
        }
        for z in range(count)
    ]


def _write_tables(
    root: Path, cohort: Cohort, pipelines: set[str], areas: list[dict[str, Any]]
) -> None:
    version = score_jax.__version__
    write_description(root, cohort.title, version=version, derived=False)
    for pipeline in sorted(pipelines):
        folder = root / "derivatives" / pipeline
        write_description(folder, f"{cohort.title}: {pipeline}", version=version, derived=True)
    write_tsv(root / "participants.tsv", cohort.participants)
    columns = {key for row in cohort.participants for key in row}
    write_json(
        root / "participants.json",
        {key: {"Description": text} for key, text in _COLUMNS.items() if key in columns},
    )
    if areas:
        write_tsv(root / "derivatives" / "truth" / "areas.tsv", areas)
        write_text(root / "derivatives" / "truth" / ".bidsignore", "areas.tsv\n")
    # no BIDS suffix fits an inversion-recovery bSSFP series of one file
    write_text(root / ".bidsignore", "*_AMIRA.*\n")
    write_text(
        root / "README",
        f"{cohort.title}: a simulated dataset, no human was scanned. Made by score-jax {version}.\n"
        "Truth and raters lie in derivatives/truth, derivatives/rater1 ... as binary masks.\n",
    )
