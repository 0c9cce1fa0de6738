"""File names that say what they hold: BIDS entities, derivatives, and the field's own suffixes.

A mask is named after its image: ``sub-01_ses-02_acq-sag_T2w.nii.gz`` gives
``sub-01_ses-02_acq-sag_label-lesion_mask.nii.gz``. BIDS drops the suffix ``T2w`` there, so two
images that differ only by suffix would share a mask's name; an image without ``acq`` or ``desc``
therefore gets its contrast as ``desc-T2w``.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from score_jax._types import PathLike
from score_jax.errors import DatasetError
from score_jax.imaging.tables import write_json

KINDS = ("mask", "dseg", "probseg")
PIPELINE = "score-jax"

# BIDS 1.10, order of entities; others keep their place before these
_ORDER = (
    *("sub", "ses", "sample", "task", "tracksys", "acq", "ce", "trc", "stain", "rec", "dir"),
    *("run", "mod", "echo", "flip", "inv", "mt", "part", "proc", "hemi", "space", "split"),
    *("recording", "chunk", "seg", "res", "den", "label", "desc"),
)
_ADDED = {"label", "desc", "space", "res", "den", "seg"}  # what derivatives add to a source's name
_EXTENSION = re.compile(r"\.(nii\.gz|nii|json|tsv|csv)$", re.IGNORECASE)
_ENTITY = re.compile(r"([a-zA-Z]+)-([a-zA-Z0-9+.]+)")

_LABEL = re.compile(r"_label-([a-zA-Z0-9+]+)(?=_|$)")

# names that people and tools give to the same structure
_ALIASES = {
    "cord": ("cord", "sc", "spinalcord", "seg", "scseg", "cordseg"),
    "lesion": ("lesion", "lesions", "lesionseg", "les"),
    "gm": ("gm", "gmseg", "graymatter", "greymatter"),
    "wm": ("wm", "wmseg", "whitematter"),
    "ah": ("ah", "ahseg", "anteriorhorn"),
    "ph": ("ph", "phseg", "posteriorhorn"),
    "gc": ("gc", "gcseg", "graycommissure", "greycommissure"),
    "canal": ("canal", "canalseg", "spinalcanal"),
}
# compared in small letters, without - and _
_REGION_OF = {alias: region for region, aliases in _ALIASES.items() for alias in aliases}
# `..._T2w_lesion-manual`, `..._T2w_seg`, `..._sc_seg`, `..._SC_mask`, `..._gmseg_manual`
_LAB_SUFFIX = re.compile(
    r"_(?P<what>[a-zA-Z]+(?:[_-]seg)?|seg)(?:[_-](?:manual|mask|reviewed|goldstandard|[A-Z]{2,3}))*$"
)


@final
@dataclass(frozen=True, slots=True)
class Name:
    """A file name in parts.

    Args:
      entities: e.g. ``{"sub": "01", "ses": "02", "acq": "sag"}``; empty if the name is not BIDS.
      suffix: what follows the last entity (``T2w``, ``mask``); for other names, the stem.
      extension: ``.nii.gz``, ``.json`` ...; may be empty.
    """

    entities: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""
    extension: str = ""

    @property
    def is_bids(self) -> bool:
        """Whether the name starts with a subject and its parts are all entities."""
        return "sub" in self.entities

    def __str__(self) -> str:
        ordered = sorted(
            self.entities.items(),
            key=lambda e: _ORDER.index(e[0]) if e[0] in _ORDER else _ORDER.index("label") - 0.5,
        )
        parts = [f"{key}-{value}" for key, value in ordered] + [self.suffix] * bool(self.suffix)
        return "_".join(parts) + self.extension


def stem(path: PathLike) -> str:
    """The file's name without ``.nii.gz`` or another known extension."""
    return _EXTENSION.sub("", Path(path).name)


def parse(path: PathLike) -> Name:
    """The parts of a file name; a name that is not BIDS comes back whole, as the suffix.

    Example:
      >>> parse("sub-01_ses-02_acq-sag_T2w.nii.gz").entities["acq"]
      'sag'
      >>> parse("scan.nii.gz").suffix
      'scan'
    """
    match = _EXTENSION.search(Path(path).name)
    extension = match.group() if match else ""
    whole = stem(path)
    if not whole.startswith("sub-"):
        return Name({}, whole, extension)
    entities: dict[str, str] = {}
    parts = whole.split("_")
    for position, part in enumerate(parts):
        entity = _ENTITY.fullmatch(part)
        if entity is None or entity[1] in entities:
            return Name(entities, "_".join(parts[position:]), extension)
        entities[entity[1]] = entity[2]
    return Name(entities, "", extension)


def derivative(
    image: PathLike, kind: str, *, label: str | None = None, desc: str | None = None
) -> str:
    """The name of what is derived from `image`.

    Args:
      image: the image's path or name.
      kind: ``mask`` (one structure), ``dseg`` (label map) or ``probseg`` (probability).
      label: the structure, for ``mask`` and ``probseg``; what BIDS forbids in it is left out.
      desc: set it to tell apart what would have the same name; by default the contrast if
        `image` has neither ``acq`` nor ``desc``.

    Example:
      >>> derivative("sub-01_ses-02_acq-sag_T2w.nii.gz", "mask", label="lesion")
      'sub-01_ses-02_acq-sag_label-lesion_mask.nii.gz'
      >>> derivative("sub-01_T2w.nii.gz", "dseg")
      'sub-01_desc-T2w_dseg.nii.gz'
      >>> derivative("scan.nii.gz", "mask", label="cord")
      'scan_label-cord_mask.nii.gz'
    """
    assert kind in KINDS, kind
    name = parse(image)
    added = {"label": _alphanumeric(label)} if label else {}
    if not name.is_bids:
        added |= {"desc": _alphanumeric(desc)} if desc else {}
        middle = "".join(f"_{key}-{value}" for key, value in added.items())
        return f"{name.suffix}{middle}_{kind}.nii.gz"
    if desc is None and not {"acq", "desc"} & set(name.entities):
        desc = name.suffix
    added |= {"desc": _alphanumeric(desc)} if desc else {}
    return str(Name({**name.entities, **added}, kind, ".nii.gz"))


def derivatives(images: Sequence[PathLike], kind: str, *, label: str | None = None) -> list[str]:
    """Names derived from several images, all different.

    Images that `derivative` would give the same name (``acq-sag_T1w`` and ``acq-sag_T2w``) get
    their contrast as ``desc`` too, joined to the one they have.

    Raises:
      DatasetError: two images would still share a name (the same file name in two folders).
    """
    first = [derivative(image, kind, label=label) for image in images]
    names = list(first)
    for position, image in enumerate(images):
        own = parse(image)
        if first.count(first[position]) > 1 and own.is_bids:
            desc = own.entities.get("desc", "") + _alphanumeric(own.suffix)
            names[position] = derivative(image, kind, label=label, desc=desc)
    for position, name in enumerate(names):
        if name in names[:position]:
            raise DatasetError(
                f"{images[names.index(name)]} and {images[position]}: both would be written as "
                f"{name}; expected names that differ",
                hint="write them to different folders",
            )
    return names


def derivative_folder(root: PathLike, image: PathLike, pipeline: str = PIPELINE) -> Path:
    """Where derivatives of `image` belong under the dataset `root`.

    ``root/derivatives/score-jax/sub-01/ses-02/anat``; for other names the folder of the pipeline.
    """
    folder = Path(root) / "derivatives" / pipeline
    entities = parse(image).entities
    if "sub" not in entities:
        return folder
    session = [f"ses-{entities['ses']}"] if "ses" in entities else []
    return folder.joinpath(f"sub-{entities['sub']}", *session, "anat")


def region_of(path: PathLike) -> str | None:
    """The structure a mask's name speaks of, or None: ``label-`` or a suffix of the field's own.

    Example:
      >>> region_of("sub-01_label-lesion_mask.nii.gz"), region_of("sub-01_T2w_seg-manual.nii.gz")
      ('lesion', 'cord')
    """
    label = _LABEL.search(stem(path))
    if label is not None:
        return _REGION_OF.get(label[1].lower(), label[1])
    lab = _LAB_SUFFIX.search(stem(path))
    return None if lab is None else _REGION_OF.get(re.sub("[_-]", "", lab["what"].lower()))


def source_stem(path: PathLike) -> str:
    """The stem of the image that a mask in the field's own style belongs to.

    ``sub-01_T2w_lesion-manual`` gives ``sub-01_T2w``; ``t2s_seg`` gives ``t2s``.
    """
    return _LAB_SUFFIX.sub("", stem(path)) if region_of(path) is not None else stem(path)


def belongs_to(mask: PathLike, image: PathLike) -> bool:
    """Whether a mask's name says that it was drawn on `image`.

    True for the field's own names if the rest of the name is the image's; for BIDS derivatives
    if every entity the mask shares with a source (all but label, desc, space ...) is the image's,
    the image has no other, and a ``desc`` that names a contrast names the image's.
    """
    ours, theirs = parse(mask), parse(image)
    if source_stem(mask) == stem(image):
        return True
    if not ours.is_bids or ours.suffix not in KINDS:
        return not theirs.is_bids and bool(
            re.fullmatch(
                re.escape(stem(image)) + r"(_label-[^_]+)?_(mask|dseg|probseg)", stem(mask)
            )
        )
    inherited = {k: v for k, v in ours.entities.items() if k not in _ADDED}
    if inherited != {k: v for k, v in theirs.entities.items() if k not in _ADDED}:
        return False
    desc = ours.entities.get("desc", "")
    contrasts = re.findall(r"(T1w|T2w|T2starw|PDw|MTR|UNIT1|MP2RAGE|STIR|PSIR|AMIRA)$", desc)
    return not contrasts or contrasts[0] == theirs.suffix


def write_description(root: PathLike, name: str, *, version: str, derived: bool) -> Path:
    """Write ``dataset_description.json`` of a dataset or of a pipeline's derivatives.

    Args:
      root: the dataset, or ``derivatives/<pipeline>``.
      name: the dataset's name.
      version: of this package.
      derived: whether the folder holds derivatives.
    """
    value: dict[str, object] = {
        "Name": name,
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative" if derived else "raw",
        "GeneratedBy": [{"Name": PIPELINE, "Version": version}],
    }
    path = Path(root) / "dataset_description.json"
    write_json(path, value)
    return path


def _alphanumeric(text: str) -> str:
    return re.sub(r"[^a-zA-Z0-9+]", "", text)
