"""Where the cord lies: a coarse look at a scan, so that the fine one need not see all of it.

Most of a scan is not cord, and a network's time is spent by the voxel. The same network, shown the
scan on a grid of twice its voxel size, follows the cord from the middle of the scan outwards; what
it finds and a margin around it are then segmented as always. Cropping first is what brought a
published nnU-Net model from 371 s to 22 s a scan with equal quality
(ivadomed/seg-sc-ms-lesion-multicontrast#151). Intensities are normalised by the whole scan.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float32

from score_jax.arrays import grid, resampling
from score_jax.arrays.components import Box, bounding_box, components
from score_jax.arrays.regions import Region, masks_from_logits
from score_jax.config import ModelSpec
from score_jax.errors import ConfigError
from score_jax.imaging import Volume, axcodes_of, reorientation
from score_jax.inference.tiling import Network, Progress
from score_jax.planning.preprocess import Prepared, prepare

MARGIN_MM = 15.0  # around what the coarse look found; the box grows further where that is free
COARSER, COARSEST_MM = 2.0, 2.0  # the coarse grid: this much coarser, but no coarser than this
LEAST_MM3 = 300.0  # of a piece of cord that is believed: about 5 mm of its length
WORTH = 3  # crop where the whole scan has this many times the tiles of the coarse look,
WORTH_VOXELS = 4_000_000  # and its tiles this many voxels: about two seconds of a small U-Net
NOTHING = "nothing was found where the cord seemed to be"
BEYOND = "what was found goes far beyond where the cord seemed to be"
WIDER = "and to the image's edge where something found reached the crop's"
_CORD = {"cord", "sc", "spinalcord"}
_CORNERS = 26  # components touch by faces, edges or corners
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Crop:
    """Which part of an image is segmented, and why that part.

    Args:
      box: one slice an axis of the image as it is stored; None for all of it.
      margin_mm: what was asked around the cord; None if no crop was wanted.
      note: in words.
    """

    box: Box | None
    margin_mm: float | None
    note: str


def margin_of(crop: str | float) -> float | None:
    """The margin that ``auto``, ``none`` or a number of mm asks for; None for no crop.

    Raises:
      ConfigError: something else, or less than 0.
    """
    if crop == "auto":
        return MARGIN_MM
    if crop == "none":
        return None
    try:
        margin = float(crop)
    except ValueError:
        margin = -1.0
    if not 0 <= margin < math.inf:
        raise ConfigError(f"crop: got {crop!r}; expected auto, none or a margin in mm")
    return margin


def cord_region(regions: Sequence[Region]) -> str | None:
    """The name of the region that is the whole cord, or None if the model has none."""
    for region in regions:
        if "".join(filter(str.isalnum, region.name.lower())) in _CORD:
            return region.name
    return None


def coarse_spacing(spacing: Sequence[float]) -> tuple[float, ...]:
    """Voxel size of the coarse look in mm, for a network's grid of `spacing`."""
    return tuple(max(mm, min(COARSER * mm, COARSEST_MM)) for mm in spacing)


def count_tiles(shape: Sequence[int], tile: Sequence[int], step: float) -> int:
    """How many tiles cover `shape`; axes shorter than the tile are padded."""
    return math.prod(
        len(grid.tile_starts(max(n, t), t, step)) for n, t in zip(shape, tile, strict=True)
    )


def follow(
    find: Callable[[Float32[np.ndarray, "x y z c"]], Bool[np.ndarray, "x y z"]],
    image: Float32[np.ndarray, "x y z c"],
    tile: Sequence[int],
    least: int,
    progress: Progress | None = None,
) -> Bool[np.ndarray, "x2 y2 z2"] | None:
    """What `find` sees in `image`, tile by tile along what was found.

    Tiles side by side are tried from the middle of the image outwards until a piece of at least
    `least` voxels is found; from then on only those that touch such a piece.

    Args:
      find: the mask of one tile.
      image: on the coarse grid.
      tile: its size.
      least: voxels of a piece that counts.
      progress: told tiles done and tiles that there are.

    Returns:
      The pieces; None if there are none.
    """
    padded, where = grid.pad_to(image, tile)
    space = padded.shape[:3]
    along = [grid.tile_starts(n, t, 1.0) for n, t in zip(space, tile, strict=True)]
    middle = [(n - t) / 2 for n, t in zip(space, tile, strict=True)]
    left = sorted(
        itertools.product(*along),
        key=lambda start: sum((s - m) ** 2 for s, m in zip(start, middle, strict=True)),
    )
    total, found = len(left), np.zeros(space, bool)
    pieces = None
    while left:
        touching = left if pieces is None else [s for s in left if pieces[_around(s, tile)].any()]
        if not touching:
            break
        chosen = touching[0]
        left.remove(chosen)
        box = tuple(slice(s, s + t) for s, t in zip(chosen, tile, strict=True))
        found[box] |= find(padded[box])
        labels, sizes = components(found, _CORNERS, min_voxels=least)
        pieces = labels > 0 if len(sizes) else None
        if progress is not None:
            progress(total - len(left), total)
    return None if pieces is None else pieces[where]


def _around(start: Sequence[int], tile: Sequence[int]) -> Box:
    return tuple(slice(max(s - 1, 0), s + t + 1) for s, t in zip(start, tile, strict=True))


def box_around(
    mask: Bool[np.ndarray, "x y z"],
    coarse: Prepared,
    margin_mm: float,
    tile_mm: Sequence[float],
    step: float,
) -> Box:
    """The box of the image, in its own axis order, that is to be segmented.

    Args:
      mask: what was found on the grid of `coarse`; not empty.
      coarse: the image on the coarse grid.
      margin_mm: around the mask, at least.
      tile_mm: extent of a tile of the fine look, in the network's axis order; 0 for the axis that a
        2-D network does not see.
      step: of the tiles. The box grows to what they see anyway.
    """
    found = bounding_box(mask)
    assert found is not None, "an empty mask has no box"
    box = []
    for axis, (start, stop) in enumerate((s.start, s.stop) for s in found):
        mm, whole = coarse.full_spacing[axis], coarse.full_shape[axis]
        scale, corner = coarse.crop_shape[axis] / mask.shape[axis], coarse.box[axis].start
        low = max(math.floor(corner + start * scale - margin_mm / mm), 0)
        high = min(math.ceil(corner + stop * scale + margin_mm / mm), whole)
        size = min(max(_seen_anyway(high - low, tile_mm[axis] / mm, step), high - low), whole)
        low = min(max(low - (size - (high - low)) // 2, 0), whole - size)
        box.append(slice(low, low + size))
    return tuple(box[axis] for axis in np.argsort(coarse.transpose))


def _seen_anyway(size: int, tile: float, step: float) -> int:
    """Voxels that the tiles needed for `size` cover; `tile` in the same voxels, 0 for none."""
    if tile == 0:
        return size
    more = math.ceil(max(size - tile, 0) / (tile * step))
    return math.floor(tile + more * tile * step)


def locate(
    spec: ModelSpec,
    network: Network,
    volume: Volume,
    crop: str | float,
    progress: Progress | None = None,
) -> Crop:
    """The part of an image in which the cord lies, with a margin.

    Args:
      spec: the model's.
      network: its tiles.
      volume: the image in the model's orientation.
      crop: "auto" (`MARGIN_MM`, where it saves time), "none", or the margin in mm.
      progress: told tiles done and tiles that there are.

    Raises:
      ConfigError: another `crop`.
    """
    margin = margin_of(crop)
    if margin is None:
        return Crop(None, None, "whole image: no crop was asked for")
    if cord_region(spec.regions) is None:
        names = ", ".join(region.name for region in spec.regions)
        note = f"whole image: none of the model's regions is the cord ({names})"
        return Crop(None, margin, note)
    rules = spec.preprocessing
    here = [volume.spacing[axis] for axis in rules.transpose]
    shape = [volume.shape[axis] for axis in rules.transpose]
    wanted = rules.spacing_mm or (0.0, 0.0, 0.0)
    fine = tuple(new or old for new, old in zip(wanted, here, strict=True))
    tile, step, flat = list(spec.tile), spec.tile_step, len(spec.tile) == 2
    if flat:
        tile.insert(spec.slice_axis, 1)
    tiles, looks = (
        count_tiles(resampling.resampled_shape(shape, here, mm), tile, share)
        for mm, share in ((fine, step), (coarse_spacing(fine), 1.0))
    )
    if crop == "auto" and (tiles * math.prod(tile) < WORTH_VOXELS or tiles < WORTH * looks):
        return Crop(None, margin, f"whole image: a crop would save little ({tiles} tiles)")
    coarse = prepare(
        volume.channels_last,
        volume.spacing,
        dataclasses.replace(rules, spacing_mm=coarse_spacing(fine), order=1),
    )

    def find(image: np.ndarray) -> np.ndarray:
        seen = np.moveaxis(image, spec.slice_axis, 0) if flat else image[None]
        logits = network(np.ascontiguousarray(seen))
        each = masks_from_logits(logits, spec.regions, exclusive=spec.exclusive)
        masks = np.asarray(each.any(axis=-1))
        return np.moveaxis(masks, 0, spec.slice_axis) if flat else masks[0]

    least = max(1, round(LEAST_MM3 / math.prod(coarse.spacing)))
    mask = follow(find, coarse.image, tile, least, progress)
    if mask is None:
        return Crop(None, margin, "whole image: no cord was found in a coarse look at it")
    extent = [n * mm for n, mm in zip(tile, fine, strict=True)]
    if flat:
        extent[spec.slice_axis] = 0.0
    box = turned(box_around(mask, coarse, margin, extent, step), volume, to_stored=True)
    return Crop(box, margin, "cropped to the cord")


def turned(box: Box, volume: Volume, *, to_stored: bool) -> Box:
    """`box` of `volume` in the axes of its file, or one of its file in those of `volume`."""
    turn = reorientation(volume.affine, axcodes_of(volume.stored_affine))
    shape = [volume.shape[axis] for axis in turn.axes]
    if not to_stored:
        turn, shape = turn.inverse(), list(volume.shape)
    sides = [box[axis] for axis in turn.axes]
    return tuple(
        slice(size - side.stop, size - side.start) if flip else side
        for side, size, flip in zip(sides, shape, turn.flips, strict=True)
    )


def within(
    crop: Crop,
    volume: Volume,
    run: Callable[[Box | None], tuple[Answer, Bool[np.ndarray, "x y z"]]],
) -> tuple[Answer, Crop]:
    """What `run` answers on the crop, or on a larger one where that was too small.

    Args:
      crop: where to begin.
      volume: the image in the model's orientation.
      run: gives an answer for a box of `volume`, and the mask of all that was found.

    Returns:
      The answer, and the crop it is of: wider where something found reached the edge of the first,
      the whole image where nothing was found.
    """
    box = None if crop.box is None else turned(crop.box, volume, to_stored=False)
    while True:
        answer, mask = run(box)
        if box is None:
            return answer, crop
        wider = widened(box, mask)
        if wider == box:
            return answer, crop
        if wider is None:
            why = BEYOND if mask.any() else NOTHING
            crop = dataclasses.replace(crop, box=None, note=f"whole image: {why}")
        else:
            stored = turned(wider, volume, to_stored=True)
            crop = dataclasses.replace(crop, box=stored, note=f"cropped to the cord, {WIDER}")
        box = wider


def widened(box: Box, mask: Bool[np.ndarray, "x y z"]) -> Box | None:
    """`box`, up to the edge of the image on every side on which the mask reaches the box's own.

    Only the largest piece of the mask in the box counts: specks at an edge are no cord. None, for
    the whole image, if nothing is in the box, or if little would be left out.
    """
    inner, _ = components(mask[box], _CORNERS)
    if not inner.any():
        return None
    sides = []
    for axis, (side, size) in enumerate(zip(box, mask.shape, strict=True)):
        layers = np.moveaxis(inner == 1, axis, 0)
        low = 0 if layers[0].any() else side.start
        high = size if layers[-1].any() else side.stop
        sides.append(slice(low, high))
    wider = tuple(sides)
    if wider != box and math.prod(s.stop - s.start for s in wider) > mask.size / 2:
        return None
    return wider
