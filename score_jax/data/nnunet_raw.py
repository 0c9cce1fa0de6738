"""nnU-Net's raw folders: dataset.json, imagesTr, labelsTr, imagesTs.

Source: nnU-Net v2, documentation/dataset_format.md and region_based_training.md.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from score_jax.arrays.regions import Region, check_regions
from score_jax.data.cases import Case, Dataset, Problem, duplicates
from score_jax.errors import ConfigError, DatasetError
from score_jax.imaging import read_json

_SUBJECT = re.compile(r"sub-[a-zA-Z0-9]+")
_ENDINGS = (".nii.gz", ".nii")


def read_nnunet(root: Path, labelled: bool | None = True) -> tuple[Dataset, list[Problem]]:
    """The dataset of an nnU-Net raw folder and everything wrong with its list of files.

    The subject of a case is the ``sub-...`` of its id if it has one, else the id.

    Raises:
      DatasetError: `dataset.json` is unreadable or does not say what it must.
    """
    path = root / "dataset.json"
    value = _object(path)
    channels = _channel_names(path, value)
    regions, ignore, exclusive = declared_regions(path, value)
    ending = value.get("file_ending")
    if ending not in _ENDINGS:
        raise DatasetError(
            f"{path}: got file_ending {ending!r}; expected '.nii.gz' or '.nii'",
            hint="convert the images to .nii.gz",
        )
    if isinstance(value.get("dataset"), dict):
        cases, problems = _listed(root, path, value["dataset"])
    else:
        cases, problems = _found(root, "imagesTr", "labelsTr", ending, len(channels))
        problems += _without_image(root, cases, ending)
    if labelled is not False:
        problems += [
            Problem(case.id, f"has no label map; expected labelsTr/{case.id}{ending}")
            for case in cases
            if case.labels is None
        ]
    tests, more = _found(root, "imagesTs", "labelsTs", ending, len(channels))
    problems += more + duplicates(cases)
    told = value.get("numTraining")
    notes = () if told in (None, len(cases)) else (f"numTraining is {told}, found {len(cases)}",)
    if not cases:
        problems.append(
            Problem(str(root), f"got no training image; expected imagesTr/CASE_0000{ending}")
        )
    dataset = Dataset(
        root=root,
        kind="nnunet",
        channel_names=channels,
        regions=regions,
        exclusive=exclusive,
        cases=tuple(cases),
        test_cases=tuple(tests),
        ignore=ignore,
        notes=notes,
    )
    return dataset, problems


def declared_regions(
    path: Path, value: Mapping[str, Any]
) -> tuple[tuple[Region, ...], int | None, bool]:
    """Regions, ignore label, and whether the regions exclude each other, from dataset.json.

    Args:
      path: the file, to name in errors.
      value: its content.

    Raises:
      DatasetError: labels that are not consecutive, no background, an ignore label that is not
        the highest, a `regions_class_order` of another length or that hides a region.
    """
    table = value.get("labels")
    if not isinstance(table, dict) or not table:
        raise DatasetError(f"{path}: got no labels; expected e.g. {{'background': 0, 'cord': 1}}")
    if any(isinstance(v, str) for v in table.values()):
        raise DatasetError(
            f"{path}: got labels as value: name (nnU-Net v1); expected name: value",
            hint="turn each pair round, e.g. 'background': 0",
        )
    labels = {name: _values(path, name, entry) for name, entry in table.items()}
    if labels.get("background") != (0,):
        raise DatasetError(f"{path}: got no 'background': 0 among the labels; expected it")
    every = sorted({v for values in labels.values() for v in values})
    if every != list(range(len(every))):
        raise DatasetError(
            f"{path}: got the labels {every}; expected consecutive integers from 0",
            hint="renumber the label maps and dataset.json",
        )
    ignore = _ignore(path, labels, every[-1])
    names = [name for name in labels if name not in ("background", "ignore")]
    exclusive = all(len(labels[name]) == 1 for name in names)
    order = [labels[name][0] for name in names] if exclusive else value.get("regions_class_order")
    if not isinstance(order, list) or len(order) != len(names):
        raise DatasetError(
            f"{path}: got regions_class_order {order}; expected the value written for each of "
            f"{', '.join(names)}, in this order"
        )
    try:
        regions = tuple(
            Region(name, labels[name], _integer(path, "regions_class_order", v))
            for name, v in zip(names, order, strict=True)
        )
        check_regions(regions)
    except ConfigError as error:
        raise DatasetError(f"{path}: {error.message}", hint=error.hint) from None
    return regions, ignore, exclusive


def _object(path: Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise DatasetError(f"{path}: got {type(value).__name__}; expected a JSON object")
    return value


def _channel_names(path: Path, value: Mapping[str, Any]) -> tuple[str, ...]:
    names = value.get("channel_names")
    if names is None and "modality" in value:
        raise DatasetError(
            f"{path}: got 'modality' (nnU-Net v1 or Decathlon); expected 'channel_names'",
            hint="convert the dataset to nnU-Net v2's layout",
        )
    if isinstance(names, list):
        names = {str(position): name for position, name in enumerate(names)}
    keys = [str(position) for position in range(len(names or ()))]
    if not isinstance(names, dict) or not names or sorted(names, key=str) != sorted(keys):
        raise DatasetError(f"{path}: got channel_names {names}; expected e.g. {{'0': 'T2w'}}")
    return tuple(str(names[key]) for key in keys)


def _values(path: Path, name: str, entry: Any) -> tuple[int, ...]:
    entries = entry if isinstance(entry, list) else [entry]
    values = tuple(_integer(path, f"labels.{name}", value) for value in entries)
    if not values:
        raise DatasetError(f"{path}: got no value for the label {name!r}; expected one or more")
    return values


def _integer(path: Path, what: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise DatasetError(f"{path}: got {value!r} in {what}; expected an integer")
    return value


def _ignore(path: Path, labels: Mapping[str, tuple[int, ...]], highest: int) -> int | None:
    if "ignore" not in labels:
        return None
    if labels["ignore"] != (highest,):
        raise DatasetError(
            f"{path}: got the ignore label {list(labels['ignore'])}; expected the highest, "
            f"{highest}"
        )
    return highest


def _listed(root: Path, path: Path, entries: Mapping[str, Any]) -> tuple[list[Case], list[Problem]]:
    cases, problems = [], []
    for name, entry in sorted(entries.items()):
        if not isinstance(entry, dict) or not isinstance(entry.get("images"), list):
            problems.append(Problem(str(path), f"dataset.{name}: expected 'images' and 'label'"))
            continue
        images = tuple(root / image for image in entry["images"])
        labels = root / entry["label"] if isinstance(entry.get("label"), str) else None
        for file in (*images, *([labels] if labels else [])):
            if not file.exists():
                problems.append(Problem(str(file), "no such file", f"named in {path}"))
        cases.append(Case(id=name, subject=_subject(name), images=images, labels=labels))
    return cases, problems


def _found(
    root: Path, images: str, labels: str, ending: str, channels: int
) -> tuple[list[Case], list[Problem]]:
    pattern = re.compile(r"(?P<id>.+)_(?P<channel>\d{4})" + re.escape(ending))
    files: dict[str, dict[int, Path]] = {}
    problems = []
    for path in sorted((root / images).glob(f"*{ending}")):
        match = pattern.fullmatch(path.name)
        if match is None:
            problems.append(
                Problem(
                    str(path),
                    f"its name has no channel; expected CASE_0000{ending}",
                    "append _0000 to its name",
                )
            )
            continue
        files.setdefault(match["id"], {})[int(match["channel"])] = path
    cases = []
    for name, by_channel in sorted(files.items()):
        # one 4-D file may hold all channels; how many it holds is checked when it is read
        wanted = range(channels) if len(by_channel) > 1 else range(1)
        if sorted(by_channel) != list(wanted):
            got = ", ".join(f"{channel:04d}" for channel in sorted(by_channel))
            problems.append(
                Problem(name, f"got the channels {got}; expected 0000 to {channels - 1:04d}")
            )
            continue
        target = root / labels / f"{name}{ending}"
        cases.append(
            Case(
                id=name,
                subject=_subject(name),
                images=tuple(by_channel[channel] for channel in sorted(by_channel)),
                labels=target if target.is_file() else None,
            )
        )
    return cases, problems


def _without_image(root: Path, cases: list[Case], ending: str) -> list[Problem]:
    names = {case.id for case in cases}
    return [
        Problem(str(path), f"has no image; expected imagesTr/{path.name[: -len(ending)]}_0000")
        for path in sorted((root / "labelsTr").glob(f"*{ending}"))
        if path.name[: -len(ending)] not in names
    ]


def _subject(name: str) -> str:
    match = _SUBJECT.search(name)
    return match.group() if match else name
