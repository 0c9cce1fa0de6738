"""The files of a ranking: predictions, the copies to correct, their pictures, and the list."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from score_jax import __version__
from score_jax.active.records import (
    LABELS,
    PICTURES,
    PREDICTIONS,
    SCORES,
    TO_CORRECT,
    MaskFile,
    Record,
    read_records,
    sha256_of_file,
)
from score_jax.arrays.regions import Region
from score_jax.errors import errors_of_disk
from score_jax.imaging import atomic, load, load_mask, save, write_json, write_tsv
from score_jax.imaging.bids import derivatives, stem
from score_jax.inference import Segmentation
from score_jax.qc import draw_overview

_COLUMNS = {
    "place": "the first is to be corrected first",
    "case": "name of the scan",
    "subject": "the person",
    "score": "weighted mean of the scan's places by disagreement, entropy and size; 1 is first",
    "disagreement": "1 - mean pairwise Dice of the opinions, mean over the regions",
    "entropy": "predictive entropy where any opinion is at 0.1 or more, mean over regions, bits",
    "mutual_information": "entropy less the mean entropy of the opinions, bits",
    "lesions": "predicted lesions (18 neighbours)",
    "image": "the scan",
    "to_correct": "masks handed out in the folder to_correct",
}


def file_names(cases: Sequence[str], regions: Sequence[Region]) -> dict[str, dict[str, str]]:
    """The names of each case's masks, by case and region; `LABELS` is the label map.

    Raises:
      DatasetError: two cases would share a name.
    """
    images = [f"{case}.nii.gz" for case in cases]
    columns = {r.name: derivatives(images, "mask", label=r.name) for r in regions}
    if len(regions) > 1:
        columns[LABELS] = derivatives(images, "dseg")
    return {case: {k: names[n] for k, names in columns.items()} for n, case in enumerate(cases)}


def write_masks(
    folder: Path, names: Mapping[str, str], found: Segmentation, sidecar: Mapping[str, Any]
) -> dict[str, MaskFile]:
    """Write the predicted masks of a scan in its own grid, and return what was written.

    Raises:
      OutputError: disk full, no permission.
    """
    arrays = {**found.masks, LABELS: found.labels}
    written = {}
    for key, name in names.items():
        path = folder / PREDICTIONS / name
        save(path, arrays[key], found.volume)
        write_json(path.with_name(f"{stem(path)}.json"), sidecar)
        written[key] = MaskFile(name, sha256_of_file(path))
    return written


def hand_out(
    folder: Path, chosen: Sequence[Record], *, label_map: bool
) -> dict[str, tuple[Path, ...]]:
    """Copy the masks of the chosen scans to ``to_correct`` and draw a picture of each.

    A mask there that differs from the prediction is somebody's work: it stays. Copies of an earlier
    list that nobody has touched are removed.

    Returns:
      The files to correct, by case.

    Raises:
      OutputError: disk full, no permission.
    """
    wanted = {record.case: tuple(_wanted(record, label_map=label_map)) for record in chosen}
    _remove_untouched(folder, wanted)
    handed = {}
    for place, record in enumerate(chosen, 1):
        handed[record.case] = tuple(folder / TO_CORRECT / m.file for m in wanted[record.case])
        for path in handed[record.case]:
            if not path.exists():
                _copy(folder / PREDICTIONS / path.name, path)
                sidecar = f"{stem(path)}.json"
                _copy(folder / PREDICTIONS / sidecar, path.with_name(sidecar))
        _draw(folder, record, place)
    return handed


def picture(folder: Path, record: Record) -> Path:
    """Where the picture of a scan lies."""
    return folder / PICTURES / f"{quote(record.case, safe='')}.png"


def _wanted(record: Record, *, label_map: bool) -> list[MaskFile]:
    one = label_map and LABELS in record.files
    return [mask for key, mask in record.files.items() if (key == LABELS) == one]


def _remove_untouched(folder: Path, wanted: Mapping[str, tuple[MaskFile, ...]]) -> None:
    """Take back what an earlier list handed out; a scan of which one mask was changed stays."""
    for record in read_records(folder) if (folder / SCORES).is_dir() else []:
        if record.edited(folder, TO_CORRECT):
            continue
        keep = wanted.get(record.case, ())
        surplus = [folder / TO_CORRECT / m.file for m in record.files.values() if m not in keep]
        with errors_of_disk(folder):
            for path in surplus:
                path.unlink(missing_ok=True)
                path.with_name(f"{stem(path)}.json").unlink(missing_ok=True)
            if record.case not in wanted:
                picture(folder, record).unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    with errors_of_disk(target), atomic(target) as temporary:
        shutil.copyfile(source, temporary)


def _draw(folder: Path, record: Record, place: int) -> None:
    masks = {
        key: load_mask(folder / PREDICTIONS / mask.file).data
        for key, mask in record.files.items()
        if key != LABELS
    }
    image = load(record.images[0])
    title = f"{place}. {record.case} · {record.model}"
    draw_overview(picture(folder, record), image, masks, title=title)


def write_list(folder: Path, rows: Sequence[Mapping[str, Any]], value: Mapping[str, Any]) -> None:
    """Write ``ranking.tsv`` with its sidecar's content, and ``ranking.json``.

    Raises:
      OutputError: disk full, no permission.
    """
    write_tsv(folder / "ranking.tsv", rows, list(rows[0]) if rows else list(_COLUMNS))
    columns = {name: {"Description": text} for name, text in _COLUMNS.items()}
    generated = [{"Name": "score-jax", "Version": __version__}]
    write_json(folder / "ranking.json", {"GeneratedBy": generated, **value, "Columns": columns})
