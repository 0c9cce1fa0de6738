"""Methods of others in the SCI study: a model folder, an nnU-Net results folder, or their masks."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from score_jax.api import load_model
from score_jax.errors import CheckpointError, ConfigError, ModelNotFoundError
from score_jax.imaging.bids import belongs_to, region_of
from score_jax.inference import Segmenter
from score_jax.study.sci_cohort import CORD, LESION, Scan, problem
from score_jax.study.stages import files_sha256

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
_OURS = {"3d", "2d", "manual", "truth", "predicted"}


@final
@dataclass(frozen=True, eq=False, slots=True)
class Baseline:
    """A method that takes part and is not trained here.

    Args:
      name: in the tables.
      model: that segments; None if `masks` were given.
      masks: folder with masks made elsewhere.
      sha256: of the weights, or of the masks.
    """

    name: str
    model: Segmenter | None
    masks: Path | None
    sha256: str


def read_baselines(given: Sequence[str]) -> list[Baseline]:
    """Baselines from ``NAME=FOLDER``.

    FOLDER is a model of ours (a run, a model folder, a shipped model's name), a results folder or
    zip of nnU-Net, or a folder of masks named after the scans (``sub-01_T2w_seg.nii.gz``,
    ``sub-01_..._label-lesion_mask.nii.gz``), as the Spinal Cord Toolbox leaves them.

    Raises:
      ConfigError: another form, a name twice or one of ours.
      ModelNotFoundError: no such folder, or nothing of that kind in it.
      CheckpointError: a model that cannot be read, or knows neither cord nor lesion.
    """
    found: list[Baseline] = []
    for text in given:
        name, sign, where = text.partition("=")
        if not sign or not _NAME.fullmatch(name) or not where:
            raise ConfigError(f"--baseline {text!r}: expected NAME=FOLDER, e.g. sct=masks/deepseg")
        if name in _OURS or name in {one.name for one in found}:
            raise ConfigError(f"--baseline {text!r}: the name {name} is taken; choose another")
        found.append(_read(name, where))
    return found


def masks_of(
    baseline: Baseline, scans: Sequence[Scan], problems: list[dict[str, str]]
) -> dict[str, Mapping[str, Path]]:
    """The masks of a folder, by case and region; a scan without any is listed as a problem."""
    assert baseline.masks is not None
    files = _niftis(baseline.masks)
    found: dict[str, Mapping[str, Path]] = {}
    for scan in scans:
        own: dict[str, Path] = {}
        for file in files:
            region = region_of(file)
            if region in (CORD, LESION) and belongs_to(file, scan.case.images[0]):
                own.setdefault(region, file)
        if own:
            found[scan.case.id] = own
        else:
            what = f"{baseline.name} has no mask of it"
            problems.append(problem(scan.case.id, what, f"not scored for {baseline.name}"))
    return found


def _read(name: str, where: str) -> Baseline:
    path = Path(where)
    model = _model(where, path)
    if model is not None:
        known = {region_of(f"x_label-{region.name}_mask") for region in model.regions}
        if not known & {CORD, LESION}:
            raise CheckpointError(
                f"{where}: knows {', '.join(r.name for r in model.regions)}; expected cord or "
                "lesion",
                hint="it cannot take part in this study",
            )
        return Baseline(name, model, None, " ".join(model.sha256))
    files = [file for file in _niftis(path) if region_of(file) in (CORD, LESION)]
    if not files:
        raise ModelNotFoundError(
            f"{where}: got neither a model nor masks; expected one of our models, a results folder "
            "of nnU-Net, or masks named after the scans",
            hint="score-jax import nnunet FOLDER --out MODEL says what is wrong with a model",
        )
    return Baseline(name, None, path, files_sha256(files, path))


def _model(where: str, path: Path) -> Segmenter | None:
    from score_jax.interop import nnunet

    try:
        return load_model(where)
    except ModelNotFoundError:
        if not path.exists():
            raise
    try:
        kinds = {kind for there in nnunet.inspect(path).folds.values() for kind in there}
    except CheckpointError:
        return None
    return nnunet.load(path, checkpoint="best" if kinds == {"best"} else "final")


def _niftis(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*.nii*") if p.name.endswith((".nii", ".nii.gz")))
