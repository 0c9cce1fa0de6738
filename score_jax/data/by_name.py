"""Datasets told by file names: BIDS with derivatives, a folder of images, a single image."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from score_jax.arrays.regions import Region
from score_jax.data.cases import Case, Dataset, Problem, duplicates, regions_from_names
from score_jax.errors import DatasetError, ScoreError
from score_jax.imaging import load_header
from score_jax.imaging.bids import KINDS, belongs_to, parse, region_of, source_stem, stem

Wanted = Sequence[str | Region] | None
_CHANNEL = re.compile(r"_\d{4}$")
_USUAL_DERIVATIVES = ("truth", "labels")


def read_bids(
    root: Path, wanted: Wanted, derivative: str | None, contrast: str | None, labelled: bool | None
) -> tuple[Dataset, list[Problem]]:
    """A BIDS dataset: images from ``sub-*/[ses-*/]anat``, masks from one derivative.

    Raises:
      DatasetError: no image, no such derivative, several contrasts to choose from.
    """
    images = [path for path in _niftis(root, "sub-*/anat", "sub-*/ses-*/anat") if not _kind(path)]
    if not images:
        raise DatasetError(
            f"{root}: got subjects without images; expected sub-*/[ses-*/]anat/*.nii.gz"
        )
    masks: list[Path] = []
    notes: list[str] = []
    if labelled is not False:
        folder = _derivative(root, derivative, needed=bool(labelled))
        if folder is not None:
            masks = _niftis(folder, "sub-*/anat", "sub-*/ses-*/anat")
            notes.append(f"masks from {folder.relative_to(root)}")
    if contrast is not None:
        images = _of_contrast(root, images, contrast)
    return _assemble(root, "bids", images, masks, wanted, labelled, notes)


def read_folder(
    root: Path, wanted: Wanted, contrast: str | None, labelled: bool | None
) -> tuple[Dataset, list[Problem]]:
    """A folder of images, with masks named after them beside (``scan_seg-manual.nii.gz``).

    Raises:
      DatasetError: no image.
    """
    files = _niftis(root)
    stems = {stem(path) for path in files}
    masks = [  # named after another file of the folder, or named as a mask
        path
        for path in files
        if _kind(path)
        or (region_of(path) is not None and source_stem(path) in stems - {stem(path)})
    ]
    images = [path for path in files if path not in set(masks)]
    if not images:
        raise DatasetError(f"{root}: got masks only; expected images")
    if contrast is not None:
        images = _of_contrast(root, images, contrast)
    notes = []
    if masks and labelled is False:
        notes.append(f"{len(masks)} masks are not taken for images")
    return _assemble(root, "folder", images, masks, wanted, labelled, notes)


def read_file(path: Path) -> tuple[Dataset, list[Problem]]:
    """One image, nothing drawn on it."""
    return _assemble(path, "file", [path], [], None, False, [])


def _assemble(
    root: Path,
    kind: str,
    images: list[Path],
    masks: list[Path],
    wanted: Wanted,
    labelled: bool | None,
    notes: list[str],
) -> tuple[Dataset, list[Problem]]:
    cases = _cases(images, masks)
    problems = duplicates(cases)
    if labelled is False or (labelled is None and not any(case.labelled for case in cases)):
        dataset = Dataset(
            root=root,
            kind=kind,
            channel_names=channel_names(cases),
            regions=(),
            cases=tuple(cases),
            notes=tuple(notes),
        )
        return dataset, problems
    without = [case for case in cases if not case.labelled]
    cases = [case for case in cases if case.labelled]
    if not cases:
        raise DatasetError(
            f"{root}: got {len(without)} images and no mask named after one; expected e.g. "
            f"{stem(without[0].images[0])} with _label-cord_mask or _seg-manual in a mask's name"
        )
    regions, cases, more = _choose(root, cases, wanted, notes)
    _one_contrast(root, cases)
    dataset = Dataset(
        root=root,
        kind=kind,
        channel_names=channel_names(cases),
        regions=regions,
        exclusive=False,
        cases=tuple(cases),
        unlabelled=tuple(without),
        notes=tuple(notes),
    )
    return dataset, problems + more


def _cases(images: list[Path], masks: list[Path]) -> list[Case]:
    """A case for each image, or for each group of `CASE_0000`, `CASE_0001` ... (nnU-Net)."""
    by_subject: dict[str, list[Path]] = {}
    for mask in masks:
        by_subject.setdefault(_group(mask, source_stem(mask)), []).append(mask)
    groups: dict[str, list[Path]] = {}
    numbered = all(_CHANNEL.search(stem(image)) for image in images)
    for image in images:
        name = _CHANNEL.sub("", stem(image)) if numbered else str(image)
        groups.setdefault(name, []).append(image)
    cases = []
    for name, files in groups.items():
        near = by_subject.get(_group(files[0], stem(files[0])), [])
        masks = [mask for mask in near if belongs_to(mask, files[0])]
        cases.append(_case(name if numbered else stem(files[0]), tuple(files), masks))
    return sorted(cases, key=lambda case: case.id)


def _group(path: Path, source: str) -> str:
    """What a mask and its image always share: subject and session, or the image's stem."""
    name = parse(path)
    if name.is_bids:
        return f"{name.entities['sub']}/{name.entities.get('ses')}"
    return re.sub(r"(_label-[^_]+)?(_desc-[^_]+)?_(mask|dseg|probseg)$", "", source)


def _case(own: str, images: tuple[Path, ...], masks: list[Path]) -> Case:
    name = parse(images[0])
    by_region: dict[str, Path] = {}
    for mask in masks:
        region = region_of(mask)
        if region is not None and parse(mask).suffix != "probseg":
            by_region.setdefault(region, mask)
    maps = [mask for mask in masks if parse(mask).suffix.endswith("dseg")]
    return Case(
        id=own,
        subject=f"sub-{name.entities['sub']}" if name.is_bids else own,
        images=images,
        labels=maps[0] if maps else None,
        region_masks=by_region,
    )


def _choose(
    root: Path, cases: list[Case], wanted: Wanted, notes: list[str]
) -> tuple[tuple[Region, ...], list[Case], list[Problem]]:
    """The regions, the cases with just their masks, and a problem for each missing mask."""
    if wanted is not None and any(isinstance(region, Region) for region in wanted):
        return _from_label_maps(cases, wanted)
    names = [str(name) for name in wanted] if wanted is not None else _shared(root, cases, notes)
    regions = regions_from_names(names)
    chosen, problems = choose_masks(cases, [region.name for region in regions])
    return regions, chosen, problems


def choose_masks(cases: Sequence[Case], names: Sequence[str]) -> tuple[list[Case], list[Problem]]:
    """The cases with just the masks of `names`, and a problem for each that is missing."""
    problems = [
        Problem(
            case.id,
            f"has no mask of {name!r}; it has {', '.join(case.region_masks) or 'none'}",
            "add it (all zeros if there is none of it), or leave the region out",
        )
        for case in cases
        for name in names
        if name not in case.region_masks
    ]
    chosen = [
        Case(
            id=case.id,
            subject=case.subject,
            images=case.images,
            region_masks={n: case.region_masks[n] for n in names if n in case.region_masks},
        )
        for case in cases
    ]
    return chosen, problems


def _from_label_maps(
    cases: list[Case], wanted: Sequence[str | Region]
) -> tuple[tuple[Region, ...], list[Case], list[Problem]]:
    regions = tuple(region for region in wanted if isinstance(region, Region))
    if len(regions) < len(wanted):
        raise DatasetError(
            "regions: got names and declared regions mixed; expected one kind",
            hint="declare each as NAME = [LABELS] -> VALUE",
        )
    problems = [
        Problem(case.id, "has no label map; expected a *_dseg.nii.gz named after it")
        for case in cases
        if case.labels is None
    ]
    return regions, cases, problems


def _shared(root: Path, cases: list[Case], notes: list[str]) -> list[str]:
    found = {name: None for case in cases for name in case.region_masks}
    shared = [name for name in found if all(name in case.region_masks for case in cases)]
    if not shared:
        counts = {n: sum(n in case.region_masks for case in cases) for n in found}
        raise DatasetError(
            f"{root}: got no region that all {len(cases)} cases have ({_counted(counts)}); "
            "expected one",
            hint="name the regions to use, or complete the masks",
        )
    if left := [name for name in found if name not in shared]:
        notes.append(f"left out, as some cases lack them: {', '.join(left)}")
    return shared


def _one_contrast(root: Path, cases: Sequence[Case]) -> None:
    suffixes = sorted(
        {n.suffix for case in cases if (n := parse(case.images[0])).is_bids and n.suffix}
    )
    if len(suffixes) > 1:
        raise DatasetError(
            f"{root}: got masks on images of several contrasts ({', '.join(suffixes)}); expected "
            "one",
            hint=f"choose one, e.g. contrast {suffixes[-1]}",
        )


def channel_names(cases: Sequence[Case]) -> tuple[str, ...]:
    """Names of the channels of the first readable case: its contrast, numbered if it has several.

    Empty if no case can be read (reading one then says why).
    """
    for case in cases:
        try:
            counts = [load_header(image).channels for image in case.images]
        except ScoreError:
            continue
        name = parse(case.images[0])
        contrast = name.suffix if name.is_bids else "image"
        total = sum(counts)
        return tuple(f"{contrast}_{c}" if total > 1 else contrast for c in range(total))
    return ()


def _of_contrast(root: Path, images: list[Path], contrast: str) -> list[Path]:
    chosen = [path for path in images if parse(path).suffix == contrast]
    if not chosen:
        there = sorted({parse(path).suffix for path in images})
        raise DatasetError(
            f"{root}: got no image of the contrast {contrast!r}; expected one of {', '.join(there)}"
        )
    return chosen


def _derivative(root: Path, name: str | None, *, needed: bool) -> Path | None:
    there = sorted(p.name for p in (root / "derivatives").glob("*") if p.is_dir())
    wanted = (name,) if name is not None else _USUAL_DERIVATIVES
    for candidate in wanted:
        if candidate in there:
            return root / "derivatives" / candidate
    if name is None and not needed:
        return None
    raise DatasetError(
        f"{root}: got the derivatives {', '.join(there) or '(none)'}; expected "
        f"derivatives/{' or derivatives/'.join(wanted)}",
        hint="name the folder that holds the masks" if there else "",
    )


def _niftis(root: Path, *patterns: str) -> list[Path]:
    folders = [folder for pattern in patterns for folder in root.glob(pattern)]
    found = {
        path
        for folder in (folders if patterns else [root])
        if folder.is_dir()
        for path in folder.iterdir()
        if path.name.lower().endswith((".nii", ".nii.gz")) and not path.name.startswith(".")
    }
    return sorted(found)


def _kind(path: Path) -> bool:
    suffix = parse(path).suffix
    return suffix in KINDS or suffix.endswith(tuple(f"_{kind}" for kind in KINDS))


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} in {count}" for name, count in counts.items()) or "no mask at all"
