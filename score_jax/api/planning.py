"""Planning networks for a dataset: its fingerprint, and what nnU-Net's planner makes of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from score_jax import data
from score_jax._types import PathLike
from score_jax.errors import DatasetError
from score_jax.imaging import read_json
from score_jax.planning import fingerprint, planner

FINGERPRINT, DESCRIPTION = "dataset_fingerprint.json", "dataset.json"


@dataclass(frozen=True, slots=True)
class Planned:
    """A dataset's description, fingerprint and plans, as nnU-Net's three files hold them.

    Args:
      description: ``dataset.json``; made from the dataset if it has none.
      fingerprint: ``dataset_fingerprint.json``.
      plans: ``nnUNetPlans.json``.
      notes: what a person should know, one line each.
    """

    description: dict[str, Any]
    fingerprint: dict[str, Any]
    plans: dict[str, Any]
    notes: tuple[str, ...]


def plan(
    dataset: PathLike,
    *,
    planner_name: str = "default",
    gpu_memory_gb: float | None = None,
    spacing: Sequence[float] | None = None,
    plans_name: str | None = None,
    found: data.Dataset | None = None,
    on_case: Callable[[int, int], None] = lambda done, total: None,
) -> Planned:
    """Plan networks for a dataset.

    Args:
      dataset: a dataset, or a folder with nothing but dataset.json and dataset_fingerprint.json.
      planner_name: "default", "resenc-m", "resenc-l" or "resenc-xl".
      gpu_memory_gb: to plan for; the planner's own by default.
      spacing: target spacing in mm, z, y, x as nnU-Net counts.
      plans_name: of the plans; nnU-Net's own by default.
      found: the dataset as it is to be read, if that is known already.
      on_case: told how many cases were looked at, and their total.

    Raises:
      DatasetError, ImageError, GeometryError: something is wrong with the dataset, by file.
      ConfigError: an unknown planner, or memory that no network fits.
    """
    root = Path(dataset)
    stored = root / FINGERPRINT
    if found is None and stored.is_file() and not (root / "imagesTr").is_dir():
        described, measured = read_json(root / DESCRIPTION), read_json(stored)
        notes: tuple[str, ...] = (f"fingerprint of {stored}",)
    else:
        found = found or data.discover(dataset)
        described = read_json(root / DESCRIPTION) if found.kind == "nnunet" else described_as(found)
        measured = fingerprint.combine(_measured(found, on_case))
        notes = tuple(found.notes)
    plans = planner.plan(
        measured,
        described,
        dataset_name=root.resolve().name,
        preset=planner_name,
        gpu_memory_gb=gpu_memory_gb,
        spacing=None if spacing is None else list(spacing),
        plans_name=plans_name,
    )
    return Planned(described, measured, plans, notes)


def _measured(
    found: data.Dataset, on_case: Callable[[int, int], None]
) -> Iterator[fingerprint.CaseFingerprint]:
    for number, case in enumerate(found.cases):
        # nnU-Net takes images as they are stored; other datasets are brought to one orientation
        loaded = data.load_case(case, found, axcodes=None if found.kind == "nnunet" else "RAS")
        yield fingerprint.of_case(loaded.image, _foreground(loaded), loaded.volume.spacing)
        on_case(number + 1, len(found.cases))


def _foreground(loaded: data.LoadedCase) -> Bool[np.ndarray, "x y z"]:
    if loaded.targets is None:
        raise DatasetError(f"{loaded.case.id}: no masks; expected a labelled dataset to plan for")
    foreground = loaded.targets.any(axis=-1)
    return np.asarray(foreground if loaded.ignore is None else foreground | loaded.ignore)


def described_as(found: data.Dataset) -> dict[str, Any]:
    """The dataset.json of a dataset that has none."""
    plain = all(len(region.labels) == 1 for region in found.regions)
    labels: dict[str, Any] = {"background": 0}
    for region in found.regions:
        labels[region.name] = region.labels[0] if len(region.labels) == 1 else list(region.labels)
    order = {} if plain else {"regions_class_order": [region.value for region in found.regions]}
    return {
        "channel_names": {str(n): channel for n, channel in enumerate(found.channel_names)},
        "labels": labels,
        **order,
        "numTraining": len(found.cases),
        "file_ending": ".nii.gz",
        "image_orientation": "LPI",  # nibabel's RAS, in the letters of the Spinal Cord Toolbox
    }
