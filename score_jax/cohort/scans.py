"""The scans of a BIDS dataset that are asked for, and where their results belong."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import final

from score_jax import __version__
from score_jax._types import PathLike
from score_jax.data import discover
from score_jax.errors import ConfigError, DatasetError
from score_jax.imaging import read_json, write_json, write_text
from score_jax.imaging.bids import derivative, parse

# BIDS has no names for these yet; its validator is told not to mind
_NOT_BIDS = ("*_areas.*", "*_lesions.*", "group_*", "longitudinal_*", "qc", "qc/**")
_DESCRIPTION = "dataset_description.json"
NAME = "score-jax"


@final
@dataclass(frozen=True, slots=True)
class Scan:
    """One image of a dataset.

    Args:
      id: its name without extension; unique.
      subject: ``sub-01``.
      session: ``ses-01``; empty if the dataset has no sessions.
      images: its files, one for each group of channels.
      folder: of its results, below the output folder.
    """

    id: str
    subject: str
    session: str
    images: tuple[Path, ...]
    folder: PurePath


def find_scans(
    root: PathLike,
    *,
    participants: Sequence[str] = (),
    sessions: Sequence[str] = (),
    contrast: str | None = None,
) -> list[Scan]:
    """The anatomical images of a BIDS dataset, by subject, session and name.

    Args:
      root: the dataset.
      participants: with or without ``sub-``; empty for all.
      sessions: with or without ``ses-``; empty for all.
      contrast: suffix of the images, e.g. ``T2w``; by default all of them.

    Raises:
      DatasetError: not BIDS, no image left, a participant or session that is not there, or two
        images whose masks would have one name.
    """
    dataset = discover(root, labelled=False, contrast=contrast)
    if dataset.kind != "bids":
        raise DatasetError(
            f"{root}: got a dataset of the kind {dataset.kind}; expected BIDS (sub-*/anat)",
            hint="score-jax predict takes folders and files",
        )
    scans = [_scan(case.id, case.images) for case in dataset.cases]
    written: dict[PurePath, Scan] = {}
    for scan in scans:
        target = scan.folder / derivative(scan.images[0], "dseg")
        if target in written:
            raise DatasetError(
                f"{written[target].images[0]} and {scan.images[0]}: both would be written as "
                f"{target.name}",
                hint="run one contrast at a time: --contrast T2w",
            )
        written[target] = scan
    scans = _chosen(scans, participants, "sub-", "subject", root)
    scans = _chosen(scans, sessions, "ses-", "session", root)
    return sorted(scans, key=lambda scan: (scan.subject, scan.session, scan.id))


def _scan(name: str, images: tuple[Path, ...]) -> Scan:
    entities = parse(images[0]).entities
    session = f"ses-{entities['ses']}" if "ses" in entities else ""
    subject = f"sub-{entities['sub']}"
    folder = PurePath(*(part for part in (subject, session, "anat") if part))
    return Scan(name, subject, session, images, folder)


def _chosen(
    scans: list[Scan], wanted: Sequence[str], prefix: str, what: str, root: PathLike
) -> list[Scan]:
    if not wanted:
        return scans
    names = {prefix + name.removeprefix(prefix) for name in wanted}
    there = {getattr(scan, what) for scan in scans}
    if missing := sorted(names - there):
        some = ", ".join(sorted(there)[:5]) + (" ..." if len(there) > 5 else "")
        raise DatasetError(f"{root}: got no {', '.join(missing)}; it has {some or 'none'}")
    return [scan for scan in scans if getattr(scan, what) in names]


def open_output(out: PathLike, root: PathLike) -> Path:
    """Make the output folder a BIDS derivative of the dataset `root`, if it is not one yet.

    Raises:
      ConfigError: the dataset itself, or a folder that describes itself as something else.
      OutputError: disk full, no permission.
    """
    folder, source = Path(out), Path(root)
    if folder.resolve() == source.resolve():
        raise ConfigError(
            f"{out}: got the dataset itself as output; expected another folder",
            hint=f"e.g. {source / 'derivatives' / NAME}",
        )
    description = folder / _DESCRIPTION
    if description.is_file():
        found = read_json(description)
        makers = found.get("GeneratedBy") if isinstance(found, dict) else None
        names = [maker.get("Name") for maker in makers or [] if isinstance(maker, dict)]
        if NAME not in names or found.get("DatasetType") != "derivative":
            raise ConfigError(
                f"{description}: got {found.get('DatasetType', 'a dataset')} of "
                f"{', '.join(map(str, names)) or 'unknown origin'}; expected an empty folder or "
                f"one of {NAME}"
            )
    value = {
        "Name": f"{_name_of(source)}: {NAME}",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": NAME, "Version": __version__}],
        "DatasetLinks": {"raw": Path(os.path.relpath(source, folder)).as_posix()},
    }
    if not description.is_file() or read_json(description) != value:
        write_json(description, value)
    ignore = folder / ".bidsignore"
    if not ignore.is_file():
        write_text(ignore, "".join(f"{pattern}\n" for pattern in _NOT_BIDS))
    return folder


def _name_of(root: Path) -> str:
    path = root / _DESCRIPTION
    found = read_json(path) if path.is_file() else {}
    return str(found.get("Name") or root.resolve().name) if isinstance(found, dict) else root.name
