"""Scores and biomarkers of the SCI study: masks against the manual and the true ones."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from score_jax import data
from score_jax.active.phases import biomarkers
from score_jax.api import Predicted, predict
from score_jax.arrays.regions import Region
from score_jax.errors import ScoreError
from score_jax.imaging import Volume, load_header, load_mask, read_json, same_grid, write_json
from score_jax.inference import Segmenter
from score_jax.metrics import anima
from score_jax.metrics.anima_compat import CORRECT
from score_jax.morphometry.extent import DAMAGE, LENGTH, VOLUME
from score_jax.study.sci_cohort import CORD, LESION, Scan, SciCohort, problem
from score_jax.study.sci_numbers import MANUAL, TRUTH

MASKS, ROWS = "masks", "rows.json"
_RASTER = "LAS"  # SCT's RPI, in which the paper scored: ANIMA's SurfaceDistance depends on it
_NAMES = {
    "Dice": "Dice", "RVE": "RelativeVolumeError", "SurfaceDistance": "SurfaceDistance",
    "ASSD": CORRECT, "PPV_L": "PPVL", "Sens_L": "SensL", "F1_L": "F1_score",
}  # fmt: skip

Masks = Mapping[str, Bool[np.ndarray, "x y z"]]


def predict_and_score(
    folder: Path,
    cohort: SciCohort,
    scans: Sequence[Scan],
    model: Segmenter,
    *,
    on_case: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Segment scans, keep the masks below `folder`, and write what they score (`rows.json`).

    A scan that cannot be segmented or scored is listed among the problems, and the rest goes on.

    Args:
      folder: the stage's.
      cohort: for its regions.
      scans: what to segment.
      model: with regions that mean cord or lesion, under any usual name.
      on_case: told the number of each scan when the network begins with it, and the total.
    """
    images = [scan.case.images[0] for scan in scans]
    found = predict(
        images,
        model,
        out=folder / MASKS,
        on_case=lambda number, total, path: on_case(number + 1, total),
    )
    files: dict[str, Mapping[str, Path]] = {}
    problems = []
    for scan, one in zip(scans, found, strict=True):
        if isinstance(one, Predicted):
            files[scan.case.id] = _by_region(one.outputs)
        else:
            problems.append(problem(scan.case.id, f"{model.name}: {one.error}", "not segmented"))
    score_files(folder, cohort, scans, files, problems)


def score_files(
    folder: Path,
    cohort: SciCohort,
    scans: Sequence[Scan],
    files: Mapping[str, Mapping[str, Path]],
    problems: list[dict[str, str]],
) -> None:
    """Score masks that are there: ``rows.json`` with scores, biomarkers and problems.

    Args:
      folder: where to write.
      cohort: for its regions.
      scans: what was segmented.
      files: by case, masks by region.
      problems: what went wrong so far; added to.
    """
    scores: list[dict[str, Any]] = []
    measured: list[dict[str, Any]] = []
    for scan in scans:
        own = files.get(scan.case.id)
        if not own:
            continue
        try:
            volume = load_header(scan.case.images[0])
            masks = _nested(_read(own, volume))
            references = {MANUAL: manual_masks(scan, cohort, volume)}
            if scan.truth:
                references[TRUTH] = _nested(_read(scan.truth, volume))
            for reference, drawn in references.items():
                scores += [
                    {"case": scan.case.id, "reference": reference, **row}
                    for row in score(masks, drawn, volume)
                ]
            measured.append({"case": scan.case.id, **measure(masks, volume)})
        except ScoreError as error:
            problems.append(problem(scan.case.id, str(error), "not scored"))
    write_json(folder / ROWS, {"scores": scores, "biomarkers": measured, "problems": problems})


def measure_references(folder: Path, cohort: SciCohort, scans: Sequence[Scan]) -> None:
    """Biomarkers of the manual and the true masks: ``rows.json`` as `score_files` writes it."""
    measured: list[dict[str, Any]] = []
    problems: list[dict[str, str]] = []
    for scan in scans:
        try:
            volume = load_header(scan.case.images[0])
            references = {MANUAL: manual_masks(scan, cohort, volume)}
            if scan.truth:
                references[TRUTH] = _nested(_read(scan.truth, volume))
            for name, masks in references.items():
                row = measure(masks, volume)
                measured.append({"case": scan.case.id, "method": name, **row})
        except ScoreError as error:
            problems.append(problem(scan.case.id, str(error), "not measured"))
    write_json(folder / ROWS, {"scores": [], "biomarkers": measured, "problems": problems})


def read_rows(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """What `score_files` wrote."""
    return read_json(folder / ROWS)


def score(masks: Masks, drawn: Masks, volume: Volume) -> list[dict[str, Any]]:
    """ANIMA's numbers of cord and lesion, its surface distance and the correct one; a row each.

    NaN where a number is not defined: distances if nothing was predicted, all of them if nothing
    was drawn (`metrics.anima`).

    Args:
      masks: predicted.
      drawn: the reference, on the same grid.
      volume: the scan, for its grid.
    """
    rows = []
    for structure in (CORD, LESION):
        if structure not in masks or structure not in drawn:
            continue
        turned = [volume.with_data(m[structure]).reoriented(_RASTER) for m in (masks, drawn)]
        values = anima(
            turned[0].data, turned[1].data, turned[0].spacing, lesions=structure == LESION
        )
        rows.append(
            {
                "structure": structure,
                **{name: values.get(theirs, math.nan) for name, theirs in _NAMES.items()},
            }
        )
    return rows


def measure(masks: Masks, volume: Volume) -> dict[str, float]:
    """Volume, length and maximal axial damage ratio of all lesions of a scan together.

    Nothing there: 0 each. NaN without a lesion mask; length and ratio also without a cord.
    """
    if LESION not in masks:
        return dict.fromkeys(("volume", "length", "adr"), math.nan)
    found = biomarkers(masks[LESION], masks.get(CORD), volume)
    return {"volume": found[VOLUME], "length": found[LENGTH], "adr": found[DAMAGE]}


def manual_masks(scan: Scan, cohort: SciCohort, volume: Volume) -> Masks:
    """The manual masks; a lesion's voxels are cord, as for training."""
    targets, _ = data.load_targets(scan.case, cohort.dataset, volume)
    regions: Sequence[Region] = cohort.dataset.regions
    return {region.name: targets[..., n] for n, region in enumerate(regions)}


def _by_region(outputs: Mapping[str, Path]) -> dict[str, Path]:
    """Masks of cord and lesion among a prediction's files, whatever the model calls them."""
    from score_jax.imaging.bids import region_of

    found: dict[str, Path] = {}
    for name, path in outputs.items():
        region = region_of(f"x_label-{name}_mask")
        if region in (CORD, LESION):
            found.setdefault(region, path)
    return found


def _read(files: Mapping[str, Path], volume: Volume) -> dict[str, Bool[np.ndarray, "x y z"]]:
    masks = {}
    for name, path in files.items():
        mask = load_mask(path).like(volume)
        same_grid(volume, mask)
        masks[name] = mask.data
    return masks


def _nested(masks: Mapping[str, Bool[np.ndarray, "x y z"]]) -> Masks:
    """A lesion's voxels are cord (SCIseg: cord is every label above 0)."""
    if CORD in masks and LESION in masks:
        return {**masks, CORD: masks[CORD] | masks[LESION]}
    return masks
