"""Masks and label maps on disk, and what their names say of them."""

import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, final

from score_jax.errors import DatasetError
from score_jax.imaging.bids import KINDS, parse, region_of, source_stem, stem

Side = Literal["prediction", "reference"]

_ADDED = {"label", "desc", "space", "res", "den", "seg"}  # what a mask's name adds to its image's
_PLAIN = re.compile(r"(?:_label-([^_]+))?(?:_desc-[^_]+)?_(mask|dseg|probseg)$")
_CONTRAST = re.compile(r"(T1w|T2w|T2starw|PDw|MTR|UNIT1|MP2RAGE|STIR|PSIR|AMIRA)$")
_USUAL = {"prediction": ("score-jax",), "reference": ("truth", "labels")}


@final
@dataclass(frozen=True, slots=True)
class MaskFile:
    """A mask and what its name says.

    Args:
      path: the file.
      case: what it shares with its image and its counterpart.
      contrast: of the image (``T2w``), or None if the name does not say.
      region: the structure, or None for a label map or a name that does not say.
    """

    path: Path
    case: str
    contrast: str | None
    region: str | None


def find(root: Path, side: Side) -> list[MaskFile]:
    """Every mask and label map at `root`, by case.

    Args:
      root: a file; an nnU-Net raw folder (labelsTr and labelsTs are taken); a BIDS dataset (the
        usual derivative is); any other folder, searched below. Probability maps and images that
        lie beside their masks are left out.
      side: what it is, which decides the usual derivative.

    Raises:
      DatasetError: not there, no mask in it, or several derivatives to choose from.
    """
    if not root.exists():
        raise DatasetError(f"{root}: no such file or folder; expected a {side}")
    if root.is_file():
        return [_file(root)]
    paths = [
        path
        for folder in _folders(root, side)
        for path in sorted(folder.rglob("*"))
        if path.name.lower().endswith((".nii", ".nii.gz")) and not _hidden(path, root)
    ]
    files = _without_images([_file(p) for p in paths if not stem(p).endswith("_probseg")])
    if not files:
        raise DatasetError(f"{root}: got no mask; expected NIfTI files (.nii, .nii.gz)")
    return _told_apart(files, root)


def _folders(root: Path, side: Side) -> list[Path]:
    training = [root / name for name in ("labelsTr", "labelsTs") if (root / name).is_dir()]
    if training:
        return training
    if not (root / "derivatives").is_dir():
        return [root]
    there = sorted(p.name for p in (root / "derivatives").iterdir() if p.is_dir())
    wanted = [name for name in _USUAL[side] if name in there] or there
    if len(wanted) != 1:
        raise DatasetError(
            f"{root}: got the derivatives {', '.join(there) or '(none)'}; expected "
            f"{' or '.join(_USUAL[side])} as the {side}",
            hint=f"give the folder itself, e.g. {root / 'derivatives' / (there or ['truth'])[0]}",
        )
    return [root / "derivatives" / wanted[0]]


def _file(path: Path) -> MaskFile:
    name = parse(path)
    if name.is_bids:
        case = "_".join(f"{k}-{v}" for k, v in name.entities.items() if k not in _ADDED)
        desc = _CONTRAST.search(name.entities.get("desc", ""))
        own = parse(source_stem(path)).suffix
        contrast = (desc[0] if desc else None) if name.suffix in KINDS else own or None
        region = None if name.suffix == "dseg" else region_of(path)
        return MaskFile(path, case, contrast, region)
    plain = _PLAIN.search(stem(path))
    if plain is not None:
        label = f"_label-{plain[1]}_mask" if plain[1] else ""
        region = region_of(f"sub-x{label}") if label and plain[2] == "mask" else None
        return MaskFile(path, stem(path)[: plain.start()], None, region)
    return MaskFile(path, source_stem(path), None, region_of(path))


def _without_images(files: list[MaskFile]) -> list[MaskFile]:
    """Leave out images: files that say nothing, beside a mask or label map named after them."""
    derived = [f for f in files if f.region is not None or stem(f.path).endswith(KINDS)]
    marked = {(f.path.parent, f.case): f.contrast for f in derived}
    return [
        f
        for f in files
        if f in derived
        or (f.path.parent, f.case) not in marked
        or not same_contrast(f.contrast, marked[f.path.parent, f.case])
    ]


def _told_apart(files: list[MaskFile], root: Path) -> list[MaskFile]:
    """Names that several files share get their folder in front."""
    seen = Counter((f.case, f.contrast, f.region) for f in files)
    cases = {key[0] for key, n in seen.items() if n > 1 and not key[0].startswith("sub-")}
    return [
        replace(f, case=(f.path.parent.relative_to(root) / f.case).as_posix())
        if f.case in cases
        else f
        for f in files
    ]


def same_contrast(one: str | None, other: str | None) -> bool:
    """Whether two contrasts may be of one image: equal, or one of them unknown."""
    return not one or not other or one == other


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)
