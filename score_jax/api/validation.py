"""Validation of a finished run: every held-out case segmented whole, written and scored."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from score_jax import __version__, data
from score_jax._types import PathLike
from score_jax.api import runs
from score_jax.api.held_out import FOLDER, SUMMARY, file_names, known_dataset
from score_jax.api.models import load_network
from score_jax.api.prediction import provenance, write_segmentation
from score_jax.arrays.regions import labels_from_masks
from score_jax.errors import DatasetError
from score_jax.evaluation.label_summary import case_entry, labels_of, summarise
from score_jax.imaging import write_json
from score_jax.inference import Predictor, Segmentation


@dataclass(frozen=True, slots=True)
class Validated:
    """What a validation left behind.

    Args:
      folder: ``validation/`` in the run folder: masks, label maps, ``summary.json``.
      cases: ids of the cases, in the order of ``metric_per_case``.
      dice: mean Dice of each region over the cases that have it, as in ``summary.json``.
    """

    folder: Path
    cases: tuple[str, ...]
    dice: Mapping[str, float]


def validate(
    run: PathLike,
    dataset: PathLike | None = None,
    *,
    tta: bool = False,
    soft: bool = False,
    arguments: Sequence[str] = (),
    on_case: Callable[[int, int, str], None] = lambda number, total, case: None,
    on_tile: Callable[[int, int], None] = lambda done, total: None,
) -> Validated:
    """Segment every held-out case of a run with the best weights, on the case's own grid.

    A case is segmented by the members that were not trained on it: all of them if they share the
    split, its own fold of a cross-validation; their logits are averaged. No post-processing is
    applied, as it is found on these very masks.

    ``validation/summary.json`` has nnU-Net's keys (``metric_per_case``, ``mean``,
    ``foreground_mean``; NaN is written as null), scored on the written label maps, and under
    ``score_jax`` what it was made of. Without held-out cases nothing is written.

    Args:
      run: the run folder.
      dataset: what it was trained on; by default where it was before.
      tta: average over the flips the model allows.
      soft: also write each region's probability (for `compare`).
      arguments: the command line, for the sidecars.
      on_case: told each case before it starts: number, total, id.
      on_tile: told tiles done and tiles in all.

    Raises:
      ConfigError: no run folder, or no dataset given and none recorded.
      DatasetError: the dataset is not the one of the run's split.
      CheckpointError, ImageError, GeometryError, OutputError: as `load_model` and `predict`.
    """
    folder = Path(run)
    config = runs.configuration(folder)
    where = known_dataset(folder, dataset)
    found = runs.discover(where, config)
    model = load_network(folder)
    _check_regions(model, found)
    splits = data.read_splits(folder / runs.SPLIT, found)
    holders = runs.holders(splits, len(model.members), folder / runs.SPLIT)
    names = file_names(holders)
    out = folder / FOLDER
    (out / SUMMARY).unlink(missing_ok=True)  # masks of this and an older validation: no summary
    about = provenance(model, arguments, postprocess=False)
    entries = []
    for number, (case_id, members) in enumerate(holders.items()):
        on_case(number, len(holders), case_id)
        case = data.load_case(found.case(case_id), found)
        held = dataclasses.replace(model, members=[model.members[m] for m in members])
        segmented = held.predict(
            case.volume, tta=tta, soft=soft, postprocess=False, progress=on_tile
        )
        sources = [image.name for image in case.case.images]
        outputs = write_segmentation(
            segmented, out, names[case_id], {**about, "Sources": sources, "Members": members}
        )
        label_map = outputs.get("labels", next(iter(outputs.values())))
        entries.append(_entry(segmented, case, found, f"{FOLDER}/{label_map.name}"))
    if not entries:
        return Validated(out, (), {})
    summary = summarise(entries)
    labels = {r.name: str(v) for r, v in zip(found.regions, labels_of(found.regions), strict=True)}
    made_of = {
        "version": __version__,
        "dataset": str(Path(where).absolute()),
        "cases": list(holders),
        "regions": labels,
        "tta": tta,
        "soft": soft,
        "weights_sha256": model.sha256,
    }
    write_json(out / SUMMARY, {**summary, "score_jax": made_of})
    dice = {name: summary["mean"][key]["Dice"] for name, key in labels.items()}
    return Validated(out, tuple(holders), dice)


def _check_regions(model: Predictor, dataset: data.Dataset) -> None:
    ours, theirs = ("; ".join(map(str, regions)) for regions in (model.regions, dataset.regions))
    if ours != theirs:
        raise DatasetError(
            f"{dataset.root}: got the regions {theirs}; expected those of {model.name}: {ours}",
            hint="name the dataset that the run was trained on",
        )


def _entry(
    found: Segmentation, case: data.LoadedCase, dataset: data.Dataset, written: str
) -> dict[str, Any]:
    assert case.targets is not None
    references = [case.case.labels] if case.case.labels else case.case.region_masks.values()
    return case_entry(
        written,
        " ".join(str(path) for path in references),
        found.labels,
        labels_from_masks(case.targets, dataset.regions),
        labels_of(dataset.regions),
        ignored=case.ignore,
    )
