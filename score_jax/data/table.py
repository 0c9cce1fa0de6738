"""Datasets given as a table of paths (TSV or CSV)."""

import re
from pathlib import Path

from score_jax.arrays.regions import Region
from score_jax.data.by_name import Wanted, channel_names, choose_masks
from score_jax.data.cases import Case, Dataset, Problem, duplicates, regions_from_names
from score_jax.errors import DatasetError
from score_jax.imaging import read_table
from score_jax.imaging.bids import parse, region_of, stem
from score_jax.imaging.tables import Row

_IMAGE = re.compile(r"image(_\d+)?")
_LABELS = ("label", "labels", "dseg")


def read_paths(path: Path, wanted: Wanted, labelled: bool | None) -> tuple[Dataset, list[Problem]]:
    """A dataset from a table with the columns ``image`` (or ``image_0000``, ``image_0001`` ...),
    then ``label`` (a label map) or one column of masks for each region (``cord``, ``lesion``),
    and, if given, ``case`` and ``subject``. Paths are relative to the table.

    Raises:
      DatasetError: no image column, no row, or no declared regions for a column of label maps.
    """  # noqa: D205
    rows = read_table(path)
    if not rows:
        raise DatasetError(f"{path}: got no row; expected one for each case")
    columns = list(rows[0])
    images = sorted(name for name in columns if _IMAGE.fullmatch(name))
    if not images:
        raise DatasetError(
            f"{path}: got the columns {', '.join(columns)}; expected image (or image_0000 ...), "
            "label or region names, and perhaps case, subject"
        )
    masks = {c: region_of(f"x_label-{_name(c)}_mask") or c for c in _mask_columns(columns, rows)}
    cases, problems = [], []
    for number, row in enumerate(rows, 2):
        case = _case(path.parent, row, images, masks)
        if case is None:
            problems.append(Problem(f"{path}, row {number}", f"has no {' or no '.join(images)}"))
            continue
        cases.append(case)
        files = (*case.images, *case.region_masks.values(), *([case.labels] * bool(case.labels)))
        problems += [
            Problem(str(file), "no such file", f"named in row {number} of {path}")
            for file in files
            if file is not None and not file.exists()
        ]
    problems += duplicates(cases)
    cases.sort(key=lambda case: case.id)
    regions: tuple[Region, ...] = ()
    drawn = any(case.labelled for case in cases)
    if cases and (labelled or (labelled is None and drawn)):
        regions, cases, more = _regions(path, cases, list(masks.values()), wanted)
        problems += more
    dataset = Dataset(
        root=path,
        kind="table",
        channel_names=channel_names(cases),
        regions=regions,
        cases=tuple(cases),
    )
    return dataset, problems


def _regions(
    path: Path, cases: list[Case], found: list[str], wanted: Wanted
) -> tuple[tuple[Region, ...], list[Case], list[Problem]]:
    declared = tuple(region for region in wanted or () if isinstance(region, Region))
    if any(case.labels is not None for case in cases):
        if not declared:
            raise DatasetError(
                f"{path}: got a column of label maps without the meaning of their values; "
                "expected declared regions, e.g. cord = [1, 2] -> 1, lesion = [2] -> 2"
            )
        problems = [
            Problem(case.id, f"has no label map in {path}") for case in cases if not case.labels
        ]
        return declared, cases, problems
    names = [str(getattr(region, "name", region)) for region in wanted or found]
    if not names:
        raise DatasetError(
            f"{path}: got no column of masks; expected label, or a column for each region",
            hint="e.g. cord, lesion",
        )
    regions = declared or regions_from_names(names)
    cases, problems = choose_masks(cases, [region.name for region in regions])
    return regions, cases, problems


def _case(folder: Path, row: Row, images: list[str], masks: dict[str, str]) -> Case | None:
    paths = [folder / value for name in images if (value := row[name]) is not None]
    if len(paths) < len(images):
        return None
    labels = next((folder / v for name in _LABELS if (v := row.get(name)) is not None), None)
    name = parse(paths[0])
    own = row.get("case") or re.sub(r"_0000$", "", stem(paths[0]))
    return Case(
        id=own,
        subject=row.get("subject") or (f"sub-{name.entities['sub']}" if name.is_bids else own),
        images=tuple(paths),
        labels=labels,
        region_masks={r: folder / v for column, r in masks.items() if (v := row[column])},
    )


def _mask_columns(columns: list[str], rows: list[Row]) -> list[str]:
    def holds_paths(column: str) -> bool:
        values = [value for row in rows if (value := row[column]) is not None]
        return bool(values) and all(v.lower().endswith((".nii", ".nii.gz")) for v in values)

    taken = {*_LABELS, "case", "subject", "session"}
    return [c for c in columns if c not in taken and not _IMAGE.fullmatch(c) and holds_paths(c)]


def _name(column: str) -> str:
    return re.sub(r"^mask_|_mask$", "", column)
