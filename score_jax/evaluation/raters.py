"""One mask file out of several, and how far they agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from jaxtyping import Shaped

from score_jax import __version__
from score_jax._types import PathLike
from score_jax.errors import ConfigError, DatasetError
from score_jax.fusion import fit_staple, majority
from score_jax.imaging import Volume, load_labels, same_grid, save, write_json
from score_jax.imaging.bids import stem
from score_jax.metrics import fleiss_kappa, pairwise

Method = Literal["majority", "staple"]


@final
@dataclass(frozen=True, eq=False, slots=True)
class Consensus:
    """A fused mask and the agreement of those it came from.

    Args:
      data: on the grid and in the orientation of the first mask.
      like: the first mask.
      sources: the files.
      method: how they were fused.
      agreement: ``dice`` (raters x raters, foreground), ``fleiss_kappa``, ``volumes_mm3`` of each
        foreground, ``consensus_mm3``; for ``staple`` also ``values``, ``sensitivity`` and
        ``specificity`` of each rater by value, ``iterations``, ``converged``.
    """

    data: Shaped[np.ndarray, "x y z"]
    like: Volume
    sources: tuple[Path, ...]
    method: Method
    agreement: dict[str, Any]

    def save(self, path: PathLike) -> list[Path]:
        """Write the mask, and a JSON sidecar with sources, method and agreement beside it.

        Raises:
          ImageError: a name that does not end in .nii or .nii.gz.
          OutputError: disk full, no permission.
        """
        target = Path(path)
        save(target, self.data, self.like)
        sidecar = target.with_name(stem(target) + ".json")
        write_json(
            sidecar,
            {
                "GeneratedBy": [{"Name": "score-jax", "Version": __version__}],
                "Sources": [source.name for source in self.sources],
                "Method": self.method,
                "Agreement": self.agreement,
            },
        )
        return [target, sidecar]


def consensus(paths: Sequence[PathLike], method: Method = "majority") -> Consensus:
    """Fuse mask files of one image.

    Masks stored in another orientation than the first are turned to its, never resampled.

    Args:
      paths: two or more masks or label maps.
      method: ``majority`` (ties to the lowest label) or ``staple``.

    Raises:
      DatasetError: fewer than two files.
      ConfigError: another method.
      ImageError: an unreadable file, or values that mean nothing.
      GeometryError: different grids; names both files.
    """
    if len(paths) < 2:
        raise DatasetError(f"masks: got {len(paths)} file; expected two or more of one image")
    if method not in ("majority", "staple"):
        raise ConfigError(f"method: got {method!r}; expected majority or staple")
    first, *others = (load_labels(path) for path in paths)
    turned = [first, *(other.like(first) for other in others)]
    for other in turned[1:]:
        same_grid(first, other, what="masks")
    images = [volume.data for volume in turned]
    foreground = [image > 0 for image in images]
    agreement: dict[str, Any] = {
        "dice": pairwise(foreground),
        "fleiss_kappa": fleiss_kappa(images),
        "volumes_mm3": [float(np.count_nonzero(m)) * first.voxel_mm3 for m in foreground],
    }
    if method == "staple":
        found = fit_staple(images)
        fused, marked = found.consensus, [int(v) for v in found.values if v]
        agreement |= {
            "values": marked,
            "sensitivity": [found.sensitivity(v) for v in marked],
            "specificity": [found.specificity(v) for v in marked],
            "iterations": len(found.log_likelihood),
            "converged": found.converged,
        }
    else:
        fused = majority(images)
    agreement["consensus_mm3"] = float(np.count_nonzero(fused)) * first.voxel_mm3
    return Consensus(fused, first, tuple(map(Path, paths)), method, agreement)
