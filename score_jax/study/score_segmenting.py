"""What the networks of a SCORE study find in scans of people whom they never saw."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from score_jax.api import load_network
from score_jax.errors import DatasetError
from score_jax.fusion import majority
from score_jax.imaging import Volume, load
from score_jax.inference import Predictor
from score_jax.study.score_cases import Worked, read_arrays, write_arrays
from score_jax.study.score_masks import PARTS, completed, divided_as, most_likely
from score_jax.study.score_training import RUN, Network, read_networks

LIKELY = "likely"  # the array of most likely parts, beside masks

Votes = dict[str, list[Bool[np.ndarray, "x y z"]]]


def segment(
    folder: Path,
    trained: Path,
    root: Path,
    scans: Sequence[Worked],
    on_scan: Callable[[int, int], None],
) -> None:
    """Segment every scan by the networks of one target whose training left its subject out.

    One file a scan: ``RATER|REGION`` masks and, where the target has the parts of the grey matter,
    ``RATER|likely``. A file that is there (an earlier call was killed) is kept.

    Args:
      folder: the stage's.
      trained: folder of the trained target.
      root: of the worked scans.
      scans: all of the study.
      on_scan: told scans done and scans in all.
    """
    networks = read_networks(trained)
    model = load_network(trained / RUN)
    for number, scan in enumerate(scans, 1):
        path = folder / f"{scan.folder}.npz"
        asked = holding_out(networks, scan)
        if asked and not path.is_file():
            volume = load(root / scan.folder / "image.nii.gz")
            arrays: dict[str, np.ndarray] = {}
            for member in asked:
                one = dataclasses.replace(model, members=[model.members[member]])
                arrays |= _asked(one, volume, networks[member].rater)
            write_arrays(path, arrays)
        on_scan(number, len(scans))


def holding_out(networks: Sequence[Network], scan: Worked) -> list[int]:
    """The networks of the scan's group that never saw its subject, one a rater.

    Raises:
      DatasetError: a network that learned from the subject would be asked (our own fault).
    """
    found = [
        k
        for k, network in enumerate(networks)
        if network.group == scan.group and scan.subject in network.held_out
    ]
    for k in found:
        if any(case.startswith(f"{scan.subject}_scan-") for case in networks[k].train):
            raise DatasetError(f"{scan.subject}: was learned by the network that is to be tested")
    return found


def read_votes(folders: Sequence[Path], scan: Worked) -> tuple[Votes, dict[str, np.ndarray]]:
    """What each network found in a scan, by region, and the most likely parts by rater."""
    votes: Votes = {}
    likely: dict[str, np.ndarray] = {}
    for folder in folders:
        path = folder / f"{scan.folder}.npz"
        if not path.is_file():
            continue
        for key, array in read_arrays(path).items():
            rater, _, region = key.rpartition("|")
            if region == LIKELY:
                likely[rater] = array
            else:
                votes.setdefault(region, []).append(array.astype(bool))
    return votes, likely


def consensus(
    votes: Mapping[str, Sequence[Bool[np.ndarray, "x y z"]]], likely: Mapping[str, np.ndarray]
) -> dict[str, Bool[np.ndarray, "x y z"]]:
    """SCORE's answer: the majority of the networks, the grey matter divided by the second stage.

    Lesions outside the cord do not count, nor does grey matter outside it. A region that no network
    segments is not there.
    """
    found = {
        region: np.asarray(majority(masks)) if len(masks) > 1 else masks[0]
        for region, masks in votes.items()
        if region not in PARTS
    }
    if "cord" in found and "lesion" in found:
        found["lesion"] = found["lesion"] & found["cord"]
    found = completed(found)
    if likely and "gm" in found:
        found |= divided_as(found["gm"], next(iter(likely.values())))
    return found


def _asked(model: Predictor, volume: Volume, rater: str) -> dict[str, np.ndarray]:
    parts = set(PARTS) <= {region.name for region in model.regions}
    found = model.predict(volume, soft=parts, postprocess=False)
    arrays = {f"{rater}|{name}": mask for name, mask in found.masks.items() if name not in PARTS}
    if parts:
        assert found.probabilities is not None
        arrays[f"{rater}|{LIKELY}"] = most_likely(found.probabilities)
    return arrays
