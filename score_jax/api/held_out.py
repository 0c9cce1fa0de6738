"""What validations left behind: masks and probabilities of held-out cases, with the truth."""

import contextlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from score_jax import data
from score_jax._types import PathLike
from score_jax.api import about, runs
from score_jax.arrays.regions import Region
from score_jax.errors import ConfigError, DatasetError
from score_jax.imaging import Volume, bids, load, load_mask, read_json

FOLDER, SUMMARY = "validation", "summary.json"


def known_dataset(run: Path, given: PathLike | None) -> PathLike:
    """`given`, or the dataset that the run was last validated on, or else trained on.

    Raises:
      ConfigError: none of them.
    """
    if given is not None:
        return given
    if (run / FOLDER / SUMMARY).is_file():
        return read_summary(run)["score_jax"]["dataset"]
    with contextlib.suppress(KeyError, TypeError):
        trained_on = about.read_run(run)["data"]["dataset"]
        if isinstance(trained_on, str):
            return trained_on
    raise ConfigError(
        f"{run}: says nowhere what it was trained on; expected the dataset",
        hint=f"score-jax validate {run} --data DATASET",
    )


def read_summary(run: Path) -> dict[str, Any]:
    """``validation/summary.json`` of a run.

    Raises:
      ConfigError: there is none, or it was not written by `validate`.
    """
    path = run / FOLDER / SUMMARY
    if not path.is_file():
        raise ConfigError(
            f"{run}: got no {FOLDER}/{SUMMARY}; expected a validated run",
            hint=f"score-jax validate {run} --data DATASET",
        )
    try:
        found = read_json(path)
        if isinstance(found["score_jax"]["dataset"], str) and found["score_jax"]["cases"]:
            return found
    except DatasetError as error:
        raise ConfigError(error.message, hint=error.hint) from None
    except (KeyError, TypeError):
        pass
    raise ConfigError(
        f"{path}: got no entry score_jax with dataset and cases; expected what validate writes",
        hint=f"score-jax validate {run} --data DATASET",
    )


def file_names(cases: Iterable[str]) -> dict[str, str]:
    """The name each case's files are made from (`bids.derivative`): its id, fit for a file.

    Raises:
      DatasetError: two cases would share a name.
    """
    names: dict[str, str] = {}
    for case in cases:
        name = re.sub(r"[^\w.+-]", "-", case) + ".nii.gz"
        if name in names.values():
            other = next(known for known, used in names.items() if used == name)
            raise DatasetError(
                f"cases {other!r} and {case!r}: both would be written as {name}; expected ids that "
                "differ in letters and digits"
            )
        names[case] = name
    return names


@dataclass(frozen=True, slots=True)
class Held:
    """A held-out case as a validation left it, with the truth.

    Args:
      case: its id.
      masks: one a region, as the network found them.
      reference: the truth of each region.
      ignored: voxels that do not count, or None.
      volume: the grid (the first mask's file).
      run: the run folder that held it out.
    """

    case: str
    masks: Bool[np.ndarray, "x y z r"]
    reference: Bool[np.ndarray, "x y z r"]
    ignored: Bool[np.ndarray, "x y z"] | None
    volume: Volume
    run: Path


def read_case(run: Path, case: str, dataset: data.Dataset) -> Held:
    """What a validation wrote of a case, and the truth, in the orientation of its files.

    Raises:
      ImageError, GeometryError, DatasetError: files that are missing, damaged or of another grid.
    """
    name = file_names([case])[case]
    volumes = [
        load_mask(run / FOLDER / bids.derivative(name, "mask", label=region.name))
        for region in dataset.regions
    ]
    masks = np.stack([volume.data for volume in volumes], axis=-1)
    reference, ignored = data.load_targets(dataset.case(case), dataset, volumes[0])
    if ignored is not None:
        masks, reference = masks & ~ignored[..., None], reference & ~ignored[..., None]
    return Held(case, masks, reference, ignored, volumes[0], run)


def read_shares(held: Held, regions: Sequence[Region]) -> Float32[np.ndarray, "x y z r"]:
    """The probabilities of a case, as ``validate --soft`` wrote them.

    Raises:
      ImageError: they were not written.
    """
    name = file_names([held.case])[held.case]
    paths = [
        held.run / FOLDER / bids.derivative(name, "probseg", label=region.name)
        for region in regions
    ]
    return np.stack([load(path, check=False).data for path in paths], axis=-1)


def validated_cases(run: Path, dataset: PathLike | None) -> tuple[data.Dataset, list[str]]:
    """The dataset of a validated run, and the ids of its held-out cases.

    Raises:
      ConfigError: not validated yet.
      DatasetError: as `runs.discover`.
    """
    cases = read_summary(run)["score_jax"]["cases"]
    return runs.discover(known_dataset(run, dataset), runs.configuration(run)), cases
