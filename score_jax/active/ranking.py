"""Ranking unlabelled scans: which one teaches the next model most if it is corrected now."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float64

from score_jax import data
from score_jax._types import PathLike
from score_jax.active import handing_out
from score_jax.active.asking import Committee
from score_jax.active.records import (
    LESION,
    PREDICTIONS,
    TO_CORRECT,
    MaskFile,
    Record,
    read_record,
    sha256_of_parts,
    sha256_of_values,
)
from score_jax.active.scores import Opinions, combined
from score_jax.arrays.components import components
from score_jax.errors import ConfigError, DatasetError, OutputError, ScoreError
from score_jax.imaging import Volume
from score_jax.inference import Segmentation, Segmenter

# What the score is made of. Disagreement says most of what the networks have not learned; entropy
# also counts edges that nobody can place; size prefers a doubtful lesion to a doubtful speck.
WEIGHTS: Mapping[str, float] = {"disagreement": 2.0, "entropy": 1.0, "size": 1.0}
_NEIGHBOURS = 18  # of one lesion, as in SCT and `sj.morphometry.lesions`


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RankOptions:
    """How to rank.

    Args:
      top: how many scans to hand out for correction.
      samples: draws of DropConnect a member, see `Committee`.
      seed: of the draws.
      tta: average over the flips the model allows.
      label_map: hand out one label map a scan instead of a mask a region.
      weights: of disagreement, entropy and size.
      derivative: BIDS: the folder below ``derivatives`` with the masks there are already.
      contrast: BIDS: the suffix of the images to rank.

    Raises:
      ConfigError: a negative number, or weights that are all 0.
    """

    top: int = 10
    samples: int | None = None
    seed: int = 0
    tta: bool = False
    label_map: bool = False
    weights: Mapping[str, float] = field(default_factory=lambda: WEIGHTS)
    derivative: str | None = None
    contrast: str | None = None

    def __post_init__(self) -> None:
        if self.top < 0:
            raise ConfigError(f"top: got {self.top}; expected 0 or more")
        values = list(self.weights.values())
        if set(self.weights) != set(WEIGHTS) or min(values) < 0 or max(values) == 0:
            raise ConfigError(
                f"weights: got {dict(self.weights)}; expected {', '.join(WEIGHTS)}, each 0 or "
                "more, not all 0"
            )


@final
@dataclass(frozen=True, slots=True)
class Ranked:
    """A scan and its place.

    Args:
      place: from 1.
      score: `scores.combined` over the scans of this list.
      record: what was measured.
    """

    place: int
    score: float
    record: Record


@final
@dataclass(frozen=True, slots=True)
class Unscored:
    """A scan that could not be scored, and why."""

    case: str
    image: Path
    error: ScoreError


@final
@dataclass(frozen=True, slots=True)
class Ranking:
    """The list, the scan to correct first at the top.

    Args:
      ranked: the scans in order.
      unscored: those that could not be scored.
      to_correct: the files handed out, by case.
      notes: choices made on the way, one line each.
    """

    ranked: tuple[Ranked, ...]
    unscored: tuple[Unscored, ...]
    to_correct: Mapping[str, tuple[Path, ...]]
    notes: tuple[str, ...]


def rank(
    unlabelled: PathLike,
    model: Segmenter,
    out: PathLike,
    options: RankOptions | None = None,
    *,
    about: Mapping[str, Any] | None = None,
    on_case: Callable[[int, int, str, bool], None] = lambda number, total, case, known: None,
    on_tile: Callable[[int, int], None] = lambda done, total: None,
) -> Ranking:
    """Segment every scan without labels, order them, and write what is to be corrected.

    `out` then holds ``ranking.tsv`` and ``ranking.json`` (the list), ``predictions`` (every mask,
    to be left alone), ``to_correct`` (copies for the first ones, to be corrected), ``pictures``
    and ``scores`` (a record a scan). Run again, scans that the same weights have scored are not
    segmented again, and masks that somebody has corrected stay as they are. Equal scores are
    ordered by the case's name.

    Args:
      unlabelled: a folder, BIDS or nnU-Net dataset, or table. Cases that have labels are left out,
        and nnU-Net's ``imagesTs``: a test scan must never become a training scan.
      model: one or several networks.
      out: the folder.
      options: how.
      about: for the sidecars of the masks, as `api.provenance` gives it.
      on_case: told each case before it starts: number, total, case, whether its score is known.
      on_tile: told tiles done and tiles in all.

    Raises:
      DatasetError: no scan without labels, or scans whose masks would have the same name.
      ConfigError: draws of a network that has nothing to draw.
      OutputError: disk full, no permission.
    """
    options, folder = options or RankOptions(), Path(out)
    committee = Committee(model, samples=options.samples, seed=options.seed)
    cases, notes = unlabelled_cases(unlabelled, options)
    names = handing_out.file_names([case.id for case in cases], model.regions)
    key = _key(committee, options)
    records: list[Record] = []
    unscored: list[Unscored] = []
    for number, case in enumerate(cases):
        try:
            volume = data.load_image(case, committee.networks[0].spec.channel_names)
            image = sha256_of_values(volume)
            known = _known(folder, case.id, key, image)
            on_case(number, len(cases), case.id, known is not None)
            if known is None:
                found, opinions = committee.ask(volume, tta=options.tta, progress=on_tile)
                sidecar = {**(about or {}), "Sources": [path.name for path in case.images]}
                files = handing_out.write_masks(folder, names[case.id], found, sidecar)
                known = _record(case, image, key, model, found, opinions, files)
                known.write(folder)
            records.append(known)
        except ScoreError as error:
            if isinstance(error, OutputError):
                raise  # the next one would not fit either
            unscored.append(Unscored(case.id, case.images[0], error))
    ranked = _ordered(records, options.weights)
    handed = handing_out.hand_out(
        folder, [r.record for r in ranked[: options.top]], label_map=options.label_map
    )
    ranking = Ranking(ranked, tuple(unscored), handed, (*notes, *_notes(committee)))
    handing_out.write_list(folder, _rows(ranking), _json(ranking, options))
    return ranking


def unlabelled_cases(
    path: PathLike, options: RankOptions
) -> tuple[list[data.Case], tuple[str, ...]]:
    """The cases at `path` on which nothing was drawn, by id, and what was left out.

    Raises:
      DatasetError: there is none, or anything is wrong with the list of files.
    """
    where = {"derivative": options.derivative, "contrast": options.contrast}
    found = data.discover(path, labelled=False, **where)
    cases = list(found.cases)
    if found.kind == "bids":  # which images have masks is known only if masks are looked for
        found = data.discover(path, labelled=None, **where)
        cases = [*found.cases, *found.unlabelled]
    wanted = sorted((case for case in cases if not case.labelled), key=lambda case: case.id)
    notes = []
    if len(wanted) < len(cases):
        notes.append(f"{len(cases) - len(wanted)} scans have labels and are left out")
    if found.test_cases:
        notes.append(f"{len(found.test_cases)} test scans (imagesTs) are left out")
    if not wanted:
        raise DatasetError(
            f"{path}: got {len(cases)} scans, all with labels; expected scans without",
            hint="name the folder of the scans that nobody has segmented yet",
        )
    return wanted, tuple(notes)


def _key(committee: Committee, options: RankOptions) -> str:
    model = committee.model
    return sha256_of_parts(
        model.sha256,
        [str(region) for region in model.regions],
        [str(rule) for rule in model.postprocessing.rules],
        committee.samples,
        committee.seed if committee.samples else 0,
        options.tta,
    )


def _known(folder: Path, case: str, key: str, image: str) -> Record | None:
    """The record of an earlier run if it still holds.

    Raises:
      DatasetError: somebody's corrections would be lost or are in the wrong folder.
    """
    record = read_record(folder, case)
    if record is None:
        return None
    if touched := record.edited(folder, PREDICTIONS):
        raise DatasetError(
            f"{touched[0]}: got other voxels than the network's; expected it untouched",
            hint=f"move your correction to {folder / TO_CORRECT}, then rank again",
        )
    if record.made_with == key and record.image_sha256 == image:
        complete = all((folder / PREDICTIONS / m.file).exists() for m in record.files.values())
        return record if complete else None
    if corrected := record.edited(folder, TO_CORRECT):
        raise DatasetError(
            f"{corrected[0]}: corrects what another model found (or another image of this name); "
            "a new prediction would part the two",
            hint="take it in first (score-jax active ingest), or give this ranking another --out",
        )
    return None


def _record(
    case: data.Case,
    image: str,
    key: str,
    model: Segmenter,
    found: Segmentation,
    opinions: Opinions,
    files: Mapping[str, MaskFile],
) -> Record:
    names = [region.name for region in model.regions]
    lesions = None
    if LESION in names:
        lesions = len(components(found.masks[LESION], _NEIGHBOURS)[1])
    return Record(
        case=case.id,
        subject=case.subject,
        images=tuple(str(path.absolute()) for path in case.images),
        image_sha256=image,
        made_with=key,
        model=model.name,
        weights_sha256=tuple(model.sha256),
        regions=tuple(model.regions),
        opinions=len(opinions),
        disagreement={name: opinions.disagreement(n) for n, name in enumerate(names)},
        entropy={name: opinions.entropy(n) for n, name in enumerate(names)},
        mutual_information={name: opinions.mutual_information(n) for n, name in enumerate(names)},
        volumes_mm3={name: _mm3(found.masks[name], found.volume) for name in names},
        lesions=lesions,
        files=files,
    )


def _mm3(mask: np.ndarray, volume: Volume) -> float:
    return float(np.count_nonzero(mask)) * volume.voxel_mm3


def _ordered(records: list[Record], weights: Mapping[str, float]) -> tuple[Ranked, ...]:
    if not records:
        return ()
    columns: dict[str, Float64[np.ndarray, " n"]] = {
        "disagreement": np.array([record.means["disagreement"] for record in records]),
        "entropy": np.array([record.means["entropy"] for record in records]),
        "size": np.array([record.lesion_mm3 for record in records]),
    }
    scores = combined(columns, weights)
    order = sorted(range(len(records)), key=lambda n: (-scores[n], records[n].case))
    return tuple(
        Ranked(place, float(scores[n]), records[n]) for place, n in enumerate(order, start=1)
    )


def _notes(committee: Committee) -> list[str]:
    notes = []
    if committee.opinions < 2:
        notes.append(
            "one network without draws has nobody to disagree with: ranked by entropy and size "
            "alone; several folds or seeds rank better (train --members folds, or --seeds 5)"
        )
    if LESION not in [region.name for region in committee.model.regions]:
        notes.append(f"the model knows no region {LESION!r}: size does not count")
    return notes


def _rows(ranking: Ranking) -> list[dict[str, Any]]:
    rows = []
    for item in ranking.ranked:
        record = item.record
        rows.append(
            {
                "place": item.place,
                "case": record.case,
                "subject": record.subject,
                "score": round(item.score, 6),
                **record.means,
                **{f"disagreement_{name}": v for name, v in record.disagreement.items()},
                **{f"{name}_mm3": v for name, v in record.volumes_mm3.items()},
                "lesions": record.lesions,
                "image": record.images[0],
                "to_correct": " ".join(p.name for p in ranking.to_correct.get(record.case, ())),
            }
        )
    return rows


def _json(ranking: Ranking, options: RankOptions) -> dict[str, Any]:
    first = ranking.ranked[0].record if ranking.ranked else None
    return {
        "Model": None
        if first is None
        else {"Name": first.model, "WeightsSHA256": first.weights_sha256},
        "Weights": dict(options.weights),
        "Notes": ranking.notes,
        "Cases": [
            {
                **row,
                "images": item.record.images,
                "entropy_by_region": dict(item.record.entropy),
                "mutual_information_by_region": dict(item.record.mutual_information),
                "opinions": item.record.opinions,
            }
            for row, item in zip(_rows(ranking), ranking.ranked, strict=True)
        ],
        "Unscored": [
            {"case": u.case, "image": u.image, "message": u.error.message, "hint": u.error.hint}
            for u in ranking.unscored
        ],
    }
