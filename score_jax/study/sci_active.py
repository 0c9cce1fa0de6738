"""The active learning of the SCI study: the first network ranks, masks are corrected and taken in.

The correction of a scan is its manual mask: nobody sits at the screen. Everything else is what
`score-jax active` does (docs/active_learning.md), refusals included.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from score_jax import __version__, active, data
from score_jax.arrays.regions import Region
from score_jax.errors import ScoreError
from score_jax.imaging import load_header, read_json, save, write_json
from score_jax.imaging.bids import derivative, derivative_folder, region_of, write_description
from score_jax.inference import Segmenter
from score_jax.study.sci_cohort import Scan, SciCohort, problem
from score_jax.study.sci_options import SciOptions
from score_jax.study.sci_training import with_masks

DATASET, RANKING, RECORD = "dataset", "ranking", "active.json"
_MASKS = "labels"


def learn_actively(
    folder: Path,
    cohort: SciCohort,
    model: Segmenter,
    *,
    first: Sequence[Scan],
    pool: Sequence[Scan],
    seed: int,
    options: SciOptions,
    on_case: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Rank the pool, correct what is handed out, take it into a dataset of the first phase's scans.

    Writes the dataset (BIDS, the scans as links), the ranking and a record. Made anew if it was
    begun before.

    Args:
      folder: the stage's.
      cohort: for its regions.
      model: the first phase's network of this seed.
      first: what it was trained on.
      pool: scans without masks, as far as the network knows.
      seed: of the split, for the record.
      options: how many scans to take in.
      on_case: told how many scans are ranked, and of how many.
    """
    for part in (DATASET, RANKING, "unlabelled"):
        shutil.rmtree(folder / part, ignore_errors=True)
    write_links(folder / DATASET, cohort, first)
    rows: list[dict[str, Any]] = []
    problems: list[dict[str, str]] = []
    if pool:
        write_links(folder / "unlabelled", cohort, pool, masks=False)
        ranking = active.rank(
            folder / "unlabelled",
            model,
            folder / RANKING,
            active.RankOptions(top=options.active_scans or len(pool)),
            on_case=lambda number, total, case, known: on_case(number + 1, total),
        )
        by_case = {scan.case.id: scan for scan in pool}
        for case, files in ranking.to_correct.items():
            _correct(by_case[case], cohort, files)
        taken = active.ingest(
            [folder / RANKING / "to_correct"],
            folder / DATASET,
            active.IngestOptions(
                rater="manual masks",
                phase=2,
                accept_unchanged=True,
                accept_empty=True,
                derivative=_MASKS,
            ),
        )
        rows = [_record(seed, item, taken) for item in ranking.ranked]
        problems = [_refused(seed, one.where, one.error) for one in taken.refused]
        problems += [_refused(seed, u.case, u.error) for u in ranking.unscored]
    write_json(folder / RECORD, {"scans": rows, "problems": problems})


def taken_scans(folder: Path, pool: Sequence[Scan]) -> list[Scan]:
    """The scans of the pool that `learn_actively` took in, with the masks that lie there."""
    by_case = {scan.case.id: scan for scan in pool}
    found = []
    for row in read_json(folder / RECORD)["scans"]:
        if row["taken"]:
            masks = {name: folder / DATASET / path for name, path in row["masks"].items()}
            found.append(with_masks(by_case[row["case"]], masks))
    return found


def write_links(
    root: Path, cohort: SciCohort, scans: Sequence[Scan], *, masks: bool = True
) -> None:
    """A BIDS dataset of some of the scans: links to their images and masks."""
    for scan in scans:
        image = scan.case.images[0]
        place = root / image.relative_to(cohort.dataset.root)
        _link(image, place)
        if masks:
            for name, mask in scan.case.region_masks.items():
                below = derivative_folder(root, image, _MASKS)
                _link(mask, below / derivative(image, "mask", label=name))
    write_description(root, root.parent.name, version=__version__, derived=False)
    if masks:
        write_description(root / "derivatives" / _MASKS, _MASKS, version=__version__, derived=True)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.symlink_to(os.path.abspath(source))
    except OSError:  # a file system without links
        shutil.copyfile(source, target)


def _correct(scan: Scan, cohort: SciCohort, files: Sequence[Path]) -> None:
    """Write the manual masks over those that were handed out."""
    volume = load_header(scan.case.images[0])
    targets, _ = data.load_targets(scan.case, cohort.dataset, volume)
    regions: Sequence[Region] = cohort.dataset.regions
    by_name = {region.name: targets[..., n] for n, region in enumerate(regions)}
    for file in files:
        save(file, by_name[str(region_of(file))], volume)


def _record(seed: int, item: active.Ranked, done: active.Ingested) -> dict[str, Any]:
    one = next((taken for taken in done.taken if taken.case == item.record.case), None)
    dice: Mapping[str, float] = {} if one is None else one.dice
    row = {
        "seed": seed,
        "case": item.record.case,
        "place": item.place,
        "score": item.score,
        "taken": one is not None,
        **{f"dice_{name}": value for name, value in dice.items()},
        "masks": {},
    }
    if one is not None:
        row["masks"] = {str(region_of(p)): _below(p) for p in one.masks}
    return row


def _below(mask: Path) -> str:
    """A mask's place in its dataset: ``derivatives/labels/sub-...``."""
    parts = mask.parts
    start = len(parts) - 1 - parts[::-1].index("derivatives")
    return "/".join(parts[start:])


def _refused(seed: int, what: str, error: ScoreError) -> dict[str, str]:
    return problem(f"{what}, seed {seed}", f"active learning: {error.message}", "not taken in")
