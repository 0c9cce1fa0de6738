"""Distances between the surfaces of two masks, in mm.

The surface of a mask is the set of its voxels that have a face neighbour outside (6 neighbours in
3-D, 4 in 2-D); distances are Euclidean between voxel centres. Tools disagree on what lies beyond
the image, so it is an argument:

* ``edge="closed"`` (the default here): the outside of the image is background, so a cord cut by
  the field of view has an end cap. As MedPy, MetricsReloaded, MONAI, panoptica.
* ``edge="open"``: the border of the image makes no surface. As ANIMA.

An axis of length 1 makes no surface either way: a single slice is measured as a 2-D image.
"""

from dataclasses import dataclass
from typing import Literal, final

import edt
import numpy as np
from jaxtyping import Bool, Float64, Int64, Integer, Shaped
from scipy.spatial import KDTree

from score_jax.arrays.components import bounding_box
from score_jax.metrics.inputs import Empty, Spacing, as_pair, as_spacing, ratio, settle

Image = Shaped[np.ndarray, "..."]  # shapes are compared at run time, with a message
Edge = Literal["closed", "open"]

# Up to here a k-d tree (exact in float64, cost by surface) is the faster way; beyond, the distance
# transform (float32: 1e-7 of the distance, cost by volume) is.
_TREE_POINTS = 400_000
_SPARSE = 8  # foreground below this fraction of the box: look at it alone


def contour(
    labels: Bool[np.ndarray, "*space"] | Integer[np.ndarray, "*space"], edge: Edge = "closed"
) -> Bool[np.ndarray, "*space"]:
    """Foreground voxels with a face neighbour of another value.

    In a label map the border between two labels is contour on both sides.

    Args:
      labels: a mask or a label map, 0 for background.
      edge: whether the border of the image counts as background (``closed``) or not (``open``).

    Raises:
      ValueError: another `edge`.
    """
    if edge not in ("closed", "open"):
        raise ValueError(f"edge: got {edge!r}; expected 'closed' or 'open'")
    foreground = labels != 0
    if np.count_nonzero(foreground) * _SPARSE < labels.size:
        return _sparse_contour(labels, tuple(voxels(foreground).T), edge)
    inner = np.ones(labels.shape, bool)
    for axis, length in enumerate(labels.shape):
        if length == 1:
            continue
        values, inside = np.moveaxis(labels, axis, 0), np.moveaxis(inner, axis, 0)
        same = values[1:] == values[:-1]
        inside[1:] &= same
        inside[:-1] &= same
        if edge == "closed":
            inside[0] = inside[-1] = False
    return foreground & ~inner


def voxels(mask: Bool[np.ndarray, "*space"]) -> Int64[np.ndarray, "n axes"]:
    """Indices of the foreground, in no promised order (the same for masks of one memory layout).

    As `np.argwhere`, but in the order of the memory, ten times faster where little is foreground.
    """
    flip = mask.strides[0] < mask.strides[-1]  # NIfTI files: first axis fastest
    mask = mask.T if flip else mask
    found = np.stack(np.unravel_index(np.flatnonzero(mask), mask.shape), axis=-1)
    return found[:, ::-1] if flip else found


def _sparse_contour(
    labels: Shaped[np.ndarray, "*space"], places: tuple[Int64[np.ndarray, " n"], ...], edge: Edge
) -> Bool[np.ndarray, "*space"]:
    """`contour` by looking at the neighbours of the foreground alone."""
    values = labels[places]
    differs = np.zeros(values.size, bool)
    for axis, length in enumerate(labels.shape):
        if length == 1:
            continue
        for last, step in ((0, -1), (length - 1, 1)):
            border = places[axis] == last
            neighbours = (*places[:axis], places[axis] + step * ~border, *places[axis + 1 :])
            differs |= labels[neighbours] != values
            if edge == "closed":
                differs |= border
    found = np.zeros(labels.shape, bool)
    found[tuple(index[differs] for index in places)] = True
    return found


@final
@dataclass(frozen=True, slots=True)
class SurfaceDistances:
    """Distance of every surface voxel of one mask to the nearest of the other.

    Args:
      pred_to_ref: mm, one a surface voxel of the prediction; infinite if the reference is empty.
      ref_to_pred: mm, one a surface voxel of the reference; infinite if the prediction is empty.
      diagonal: greatest distance between two voxel centres of the image, mm.
    """

    pred_to_ref: Float64[np.ndarray, " p"]
    ref_to_pred: Float64[np.ndarray, " r"]
    diagonal: float

    @property
    def pooled(self) -> Float64[np.ndarray, " n"]:
        """Both directions in one list."""
        return np.concatenate([self.pred_to_ref, self.ref_to_pred])

    def hausdorff(self, *, empty: Empty = "nan") -> float:
        """As the function `hausdorff`, between surfaces."""
        return self._distance(lambda d: max(d.pred_to_ref.max(), d.ref_to_pred.max()), empty)

    def percentile(
        self, percent: float, *, pool: Literal["max", "pooled"] = "max", empty: Empty = "nan"
    ) -> float:
        """As the function `hausdorff95`, for any percentage."""
        if pool not in ("max", "pooled"):
            raise ValueError(f"pool: got {pool!r}; expected 'max' or 'pooled'")

        def value(d: SurfaceDistances) -> float:
            if pool == "pooled":
                return np.percentile(d.pooled, percent)
            return max(np.percentile(side, percent) for side in (d.pred_to_ref, d.ref_to_pred))

        return self._distance(value, empty)

    def assd(self, *, empty: Empty = "nan") -> float:
        """As the function `assd`."""
        return self._distance(lambda d: d.pooled.mean(), empty)

    def masd(self, *, empty: Empty = "nan") -> float:
        """As the function `masd`."""
        return self._distance(lambda d: (d.pred_to_ref.mean() + d.ref_to_pred.mean()) / 2, empty)

    def nsd(self, tolerance_mm: float, *, empty: Empty = "nan") -> float:
        """As the function `nsd`."""
        # voxel sizes from headers are rounded: 0.5 mm may be stored as 0.50000001
        near = int(np.count_nonzero(self.pooled <= tolerance_mm * (1 + 1e-6)))
        value = ratio(near, self.pooled.size)
        return settle(
            value,
            n_pred=self.pred_to_ref.size,
            n_ref=self.ref_to_pred.size,
            best=1.0,
            worst=0.0,
            empty=empty,
        )

    def _distance(self, formula, empty: Empty) -> float:
        n_pred, n_ref = self.pred_to_ref.size, self.ref_to_pred.size
        value = float(formula(self)) if n_pred and n_ref else float("nan")
        return settle(value, n_pred=n_pred, n_ref=n_ref, best=0.0, worst=self.diagonal, empty=empty)


def surface_distances(
    pred: Image, ref: Image, spacing: Spacing, *, edge: Edge = "closed"
) -> SurfaceDistances:
    """All distances between two surfaces, from which every metric of this module follows.

    Args:
      pred: prediction, 2-D or 3-D.
      ref: reference of the same shape.
      spacing: voxel sizes in mm, one an axis.
      edge: see the module.

    Raises:
      GeometryError: shapes differ, or an impossible spacing.
      ImageError: a soft mask.
    """
    pred_mask, ref_mask = as_pair(pred, ref)
    sizes = as_spacing(spacing, pred_mask.ndim)
    diagonal = float(np.linalg.norm((np.array(pred_mask.shape) - 1) * sizes))
    box = bounding_box(pred_mask, ref_mask, margin=1)
    if box is None:
        return SurfaceDistances(np.zeros(0), np.zeros(0), diagonal)
    # a box of one voxel more than the masks: its border is background or the image's own border
    forth, back = distances_between(
        _surface(pred_mask[box], edge), _surface(ref_mask[box], edge), sizes
    )
    return SurfaceDistances(forth, back, diagonal)


def distances_between(
    first: Bool[np.ndarray, "*space"],
    second: Bool[np.ndarray, "*space"],
    sizes: Float64[np.ndarray, " n"],
) -> tuple[Float64[np.ndarray, " a"], Float64[np.ndarray, " b"]]:
    """Distances from each voxel of `first` to the nearest of `second`, and back, in mm.

    In the order of `voxels`; infinite if the other set is empty.
    """
    first_voxels, second_voxels = voxels(first), voxels(second)
    n_first, n_second = len(first_voxels), len(second_voxels)
    if n_first + n_second > _TREE_POINTS and n_first and n_second:
        return (
            _transform(second, sizes)[tuple(first_voxels.T)].astype(np.float64),
            _transform(first, sizes)[tuple(second_voxels.T)].astype(np.float64),
        )
    first_points, second_points = first_voxels * sizes, second_voxels * sizes
    return nearest(first_points, second_points), nearest(second_points, first_points)


def nearest(
    points: Float64[np.ndarray, "a n"], others: Float64[np.ndarray, "b n"]
) -> Float64[np.ndarray, " a"]:
    """Distance of each of `points` to the nearest of `others`; infinite if there is none."""
    if not len(points) or not len(others):
        return np.full(len(points), np.inf)
    # unbalanced and loose: three times faster to build, no slower to ask, for voxels on a grid
    tree = KDTree(others, balanced_tree=False, compact_nodes=False)
    return np.asarray(tree.query(points)[0], np.float64)


def hausdorff(
    pred: Image,
    ref: Image,
    spacing: Spacing,
    *,
    edge: Edge = "closed",
    between: Literal["surfaces", "masks"] = "surfaces",
    empty: Empty = "nan",
) -> float:
    """Hausdorff distance in mm: the farthest that either is from the other.

    Args:
      pred: prediction, 2-D or 3-D.
      ref: reference of the same shape.
      spacing: voxel sizes in mm.
      edge: whether the image border closes a surface; without effect between masks.
      between: ``surfaces``: max over surface voxels of the distance to the other surface (MedPy,
        MetricsReloaded, MONAI). ``masks``: max over voxels of the distance to the other mask, 0
        inside it (ANIMA, SimpleITK, scikit-image). They differ for hollow and nested shapes.
      empty: a mask empty: NaN; other rules at `inputs.settle`.

    Source: Huttenlocher et al., IEEE TPAMI 15 (1993) 850.
    """
    if between == "surfaces":
        return surface_distances(pred, ref, spacing, edge=edge).hausdorff(empty=empty)
    if between != "masks":
        raise ValueError(f"between: got {between!r}; expected 'surfaces' or 'masks'")
    pred_mask, ref_mask = as_pair(pred, ref)
    sizes = as_spacing(spacing, pred_mask.ndim)
    n_pred, n_ref = int(np.count_nonzero(pred_mask)), int(np.count_nonzero(ref_mask))
    value = float("nan")
    box = bounding_box(pred_mask, ref_mask, margin=1)
    if box is not None and n_pred and n_ref:
        pred_mask_, ref_mask_ = pred_mask[box], ref_mask[box]
        value = between_masks(
            pred_mask_, ref_mask_, contour(pred_mask_, "open"), contour(ref_mask_, "open"), sizes
        )
    diagonal = float(np.linalg.norm((np.array(pred_mask.shape) - 1) * sizes))
    return settle(value, n_pred=n_pred, n_ref=n_ref, best=0.0, worst=diagonal, empty=empty)


def between_masks(
    first: Bool[np.ndarray, "*space"],
    second: Bool[np.ndarray, "*space"],
    first_contour: Bool[np.ndarray, "*space"],
    second_contour: Bool[np.ndarray, "*space"],
    sizes: Float64[np.ndarray, " n"],
) -> float:
    """Hausdorff distance of two masks that are not empty, given their open contours, in mm."""
    return max(
        _farthest(first & ~second, second, second_contour, sizes),
        _farthest(second & ~first, first, first_contour, sizes),
    )


def _farthest(
    outside: Bool[np.ndarray, "*space"],
    mask: Bool[np.ndarray, "*space"],
    mask_contour: Bool[np.ndarray, "*space"],
    sizes: Float64[np.ndarray, " n"],
) -> float:
    n_outside = np.count_nonzero(outside)
    if not n_outside:
        return 0.0
    if n_outside > _TREE_POINTS:
        return float(_transform(mask, sizes)[outside].max())
    # the nearest voxel of a set, seen from outside it, is one of its contour
    return float(nearest(voxels(outside) * sizes, voxels(mask_contour) * sizes).max())


def hausdorff95(
    pred: Image,
    ref: Image,
    spacing: Spacing,
    *,
    edge: Edge = "closed",
    pool: Literal["max", "pooled"] = "max",
    empty: Empty = "nan",
) -> float:
    """95th percentile of the surface distances, in mm.

    Args:
      pred: prediction, 2-D or 3-D.
      ref: reference of the same shape.
      spacing: voxel sizes in mm.
      edge: whether the image border closes a surface.
      pool: ``max``: the larger of the two directed percentiles (MetricsReloaded, MONAI).
        ``pooled``: the percentile of both directions together (MedPy, panoptica). Not
        interchangeable. Percentiles are interpolated linearly.
      empty: a mask empty: NaN; other rules at `inputs.settle`.
    """
    found = surface_distances(pred, ref, spacing, edge=edge)
    return found.percentile(95, pool=pool, empty=empty)


def assd(
    pred: Image, ref: Image, spacing: Spacing, *, edge: Edge = "closed", empty: Empty = "nan"
) -> float:
    """Average symmetric surface distance in mm: the mean over both surfaces pooled.

    (sum of both directions) / (surface voxels of both), so the longer surface weighs more. A mask
    empty: NaN. (MedPy 0.5.2 and MetricsReloaded "assd"; panoptica's "ASSD" is `masd`.)
    """
    return surface_distances(pred, ref, spacing, edge=edge).assd(empty=empty)


def masd(
    pred: Image, ref: Image, spacing: Spacing, *, edge: Edge = "closed", empty: Empty = "nan"
) -> float:
    """Mean of the two directed average surface distances, in mm. A mask empty: NaN."""
    return surface_distances(pred, ref, spacing, edge=edge).masd(empty=empty)


def nsd(
    pred: Image,
    ref: Image,
    spacing: Spacing,
    tolerance_mm: float = 1.0,
    *,
    edge: Edge = "closed",
    empty: Empty = "nan",
) -> float:
    """Normalised surface Dice: the share of both surfaces within a tolerance of the other, 0 to 1.

    Surface is counted in voxels (MetricsReloaded, MONAI), not in area (surface-distance). A
    distance equal to the tolerance counts. One mask empty: 0. Both: NaN.

    Args:
      pred: prediction, 2-D or 3-D.
      ref: reference of the same shape.
      spacing: voxel sizes in mm.
      tolerance_mm: state it with every figure; 1 and 2 mm are usual here.
      edge: whether the image border closes a surface.
      empty: other rules at `inputs.settle`.

    Source: Nikolov et al., arXiv 1809.04430.
    """
    return surface_distances(pred, ref, spacing, edge=edge).nsd(tolerance_mm, empty=empty)


def _transform(
    mask: Bool[np.ndarray, "*space"], sizes: Float64[np.ndarray, " n"]
) -> Shaped[np.ndarray, "*space"]:
    return edt.edt(
        np.ascontiguousarray(~mask), anisotropy=tuple(sizes), black_border=False, parallel=1
    )


def _surface(mask: Bool[np.ndarray, "*space"], edge: Edge) -> Bool[np.ndarray, "*space"]:
    """The contour, or all of a mask that fills the image and so has no open contour.

    No surface voxel then always means an empty mask.
    """
    found = contour(mask, edge)
    return found if found.any() else mask
