"""Finding out what kind of dataset a path is, and reading it."""

from collections.abc import Sequence
from pathlib import Path

from score_jax._types import PathLike
from score_jax.data.by_name import Wanted, read_bids, read_file, read_folder
from score_jax.data.cases import Dataset, Problem
from score_jax.data.nnunet_raw import read_nnunet
from score_jax.data.table import read_paths
from score_jax.errors import DatasetError
from score_jax.imaging.bids import parse


def discover(
    path: PathLike,
    *,
    regions: Wanted = None,
    derivative: str | None = None,
    contrast: str | None = None,
    labelled: bool | None = True,
) -> Dataset:
    """The dataset at `path`: an nnU-Net raw folder, BIDS, a table of paths, a folder, a file.

    Args:
      path: a folder with ``dataset.json`` (nnU-Net); with ``sub-*`` folders (BIDS); with NIfTI
        files; a ``.tsv`` or ``.csv`` table; one NIfTI file.
      regions: names of the masks to use (``["cord", "lesion"]``), or declared regions for label
        maps without a ``dataset.json``; by default every region that all cases have.
      derivative: BIDS: the folder below ``derivatives`` with the masks; by default ``truth`` or
        ``labels``.
      contrast: BIDS: the suffix of the images to use (``T2w``).
      labelled: whether masks are wanted; if False every image is a case; if None masks are used
        where there are any.

    Raises:
      DatasetError: nothing there, an unknown layout, or anything wrong with the list of files
        (`inspect` gives all of it).
    """
    dataset, problems = survey(
        path, regions=regions, derivative=derivative, contrast=contrast, labelled=labelled
    )
    if problems:
        more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
        raise DatasetError(
            f"{problems[0]}{more}",
            hint="; ".join(
                h for h in (problems[0].hint, f"score-jax check {dataset.root} lists all") if h
            ),
        )
    return dataset


def discover_raters(path: PathLike, raters: Sequence[str], like: Dataset) -> dict[str, Dataset]:
    """The same BIDS dataset once for each rater, with that rater's masks.

    Args:
      path: the dataset.
      raters: folders below ``derivatives``, e.g. ``rater1``, ``rater2`` (`score-jax simulate`).
      like: the dataset as `discover` found it; its cases, regions and contrast are wanted.

    Returns:
      By rater, in the given order; empty if `raters` is.

    Raises:
      DatasetError: not BIDS, a rater named twice or without a folder, a case or region of `like`
        that a rater lacks.
    """
    if len(set(raters)) < len(raters):
        raise DatasetError(f"raters: got {', '.join(raters)}; expected each once")
    if raters and like.kind != "bids":
        raise DatasetError(
            f"{path}: got a dataset of the kind {like.kind}; expected BIDS, where each rater is a "
            "folder below derivatives/"
        )
    return {rater: _rater(path, rater, like) for rater in raters}


def _rater(path: PathLike, rater: str, like: Dataset) -> Dataset:
    maps = any(case.labels is not None for case in like.cases)
    wanted = like.regions if maps else [region.name for region in like.regions]
    contrast = parse(like.cases[0].images[0]).suffix
    try:
        dataset = discover(path, regions=wanted, derivative=rater, contrast=contrast)
    except DatasetError as error:
        raise DatasetError(f"rater {rater}: {error.message}", hint=error.hint) from None
    drawn = {case.id for case in dataset.cases}
    if lacking := [case.id for case in like.cases if case.id not in drawn]:
        some = ", ".join(lacking[:3]) + (f" ... ({len(lacking)} in all)" if lacking[3:] else "")
        raise DatasetError(
            f"{dataset.root / 'derivatives' / rater}: has no masks of {some}; expected those of "
            "every case",
            hint="complete them, leave the cases out, or leave the rater out",
        )
    return dataset


def survey(
    path: PathLike,
    *,
    regions: Wanted = None,
    derivative: str | None = None,
    contrast: str | None = None,
    labelled: bool | None = True,
) -> tuple[Dataset, list[Problem]]:
    """As `discover`, but with everything that is wrong with the list of files, not the first.

    Raises:
      DatasetError: so wrong that there is no dataset to speak of.
    """
    root = Path(path)
    if root.is_file():
        return _survey_file(root, regions, derivative, contrast, labelled)
    if not root.exists():
        raise DatasetError(f"{root}: no such file or folder; expected a dataset")
    entries = sorted(p for p in root.iterdir() if not p.name.startswith("."))
    if not entries:
        raise DatasetError(f"{root}: an empty folder; expected images")
    if (root / "dataset.json").is_file():
        return read_nnunet(root, labelled)
    if any(p.is_dir() and p.name.startswith("sub-") for p in entries):
        return read_bids(root, regions, derivative, contrast, labelled)
    if any(p.name.lower().endswith((".nii", ".nii.gz")) for p in entries):
        return read_folder(root, regions, contrast, labelled)
    raise DatasetError(
        f"{root}: got {_shown(entries)}; expected dataset.json with imagesTr (nnU-Net), sub-* "
        "folders (BIDS), or NIfTI images (.nii, .nii.gz)",
        hint=_advice(entries),
    )


def _survey_file(
    path: Path, regions: Wanted, derivative: str | None, contrast: str | None, labelled: bool | None
) -> tuple[Dataset, list[Problem]]:
    name = path.name.lower()
    if name.endswith((".tsv", ".csv")):
        return read_paths(path, regions, labelled)
    if name == "dataset.json":
        return survey(
            path.parent,
            regions=regions,
            derivative=derivative,
            contrast=contrast,
            labelled=labelled,
        )
    if labelled:
        raise DatasetError(
            f"{path}: got one file; expected a dataset with masks: an nnU-Net or BIDS folder, or "
            "a table (.tsv, .csv)"
        )
    return read_file(path)


def _shown(entries: list[Path]) -> str:
    names = [p.name + "/" * p.is_dir() for p in entries]
    return ", ".join(names[:6]) + (f" ... ({len(names)} in all)" if len(names) > 6 else "")


def _advice(entries: list[Path]) -> str:
    names = [p.name for p in entries]
    if "imagesTr" in names:
        return "dataset.json is missing"
    inner = [name for name in names if name.startswith("Dataset")]
    if inner:
        return f"name one dataset, e.g. {entries[0].parent / inner[0]}"
    if any(name.lower().endswith((".dcm", ".ima")) for name in names):
        return f"convert DICOM first: dcm2niix -z y {entries[0].parent}"
    return ""
