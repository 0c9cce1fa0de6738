"""How lesions spread over the tracts of an atlas and over vertebral levels.

Source: Spinal Cord Toolbox 7.4 (commit 3b3c5b22), `sct_analyze_lesion -f`; the sheets and their
columns are its own, `coverage` and the table of levels are ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float, Real

from score_jax.errors import GeometryError
from score_jax.morphometry.orientation import Anatomy
from score_jax.morphometry.scene import Body, Scene
from score_jax.morphometry.table import Row

ROW, VERT_LEVEL, ALL_TRACTS = "row", "vert_level", "total % (all tracts)"
# weights, tracts and levels in one box
_Cut = tuple[Float[np.ndarray, "x y z"], Float[np.ndarray, "x y z t"], Real[np.ndarray, "x y z"]]
OCCUPIED, COVERAGE = "ROI_occupied_by_lesion", "coverage"


@final
@dataclass(frozen=True, slots=True)
class Atlas:
    """Fractional volumes of tracts, on the grid of the lesion mask.

    Args:
      tracts: share of each voxel that is tract, 0 to 1, as stored.
      names: one a tract.
      groups: name of a group of tracts to their positions.
      levels: vertebral level of each voxel, 0 where there is none, as stored.
    """

    tracts: Float[np.ndarray, "i j k t"]
    names: tuple[str, ...]
    levels: Real[np.ndarray, "_ _ _"]
    groups: Mapping[str, tuple[int, ...]]

    def __post_init__(self) -> None:
        count = self.tracts.shape[3]
        if len(self.names) != count or self.levels.shape != self.tracts.shape[:3]:
            raise GeometryError(
                f"atlas: got tracts of shape {self.tracts.shape}, {len(self.names)} names and "
                f"levels of shape {self.levels.shape}; expected one name a tract and one grid"
            )
        for name, members in self.groups.items():
            if any(not 0 <= k < count for k in members):
                raise GeometryError(
                    f"atlas: the group {name!r} has tracts {list(members)}; there are {count}"
                )


@final
@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a sheet: vertebral levels, or axial slices.

    Args:
      names: as written.
      values: for levels, the value of each row; empty for slices.
      vert_levels: for slices, the most frequent level in each ("N/A" if none); empty for levels.
      total: name of the last row.
    """

    names: tuple[str, ...]
    values: tuple[float, ...]
    vert_levels: tuple[str, ...]
    total: str

    @property
    def by_slice(self) -> bool:
        """Whether the rows are axial slices."""
        return bool(self.vert_levels)

    def sums(
        self,
        weights: Float[np.ndarray, "x y z"],
        tracts: Float[np.ndarray, "x y z t"],
        levels: Real[np.ndarray, "x y z"],
        first: int = 0,
    ) -> Float[np.ndarray, "rows t"]:
        """Sum of weight times tract over each row's voxels.

        Args:
          weights: in a box of the image.
          tracts: in the same box.
          levels: likewise.
          first: first axial slice of the box.
        """
        found = np.zeros((len(self.names), tracts.shape[3]))
        if self.by_slice:
            found[first : first + weights.shape[2]] = np.einsum("xyz,xyzt->zt", weights, tracts)
            return found
        for number, value in enumerate(self.values):
            found[number] = np.einsum("xyz,xyzt->t", weights * (levels == value), tracts)
        return found

    def touched(
        self,
        weights: Float[np.ndarray, "x y z"],
        levels: Real[np.ndarray, "x y z"],
        first: int = 0,
    ) -> Bool[np.ndarray, " rows"]:
        """Whether any voxel of each row has weight and a level; arguments as for `sums`."""
        labelled = (weights > 0) & (levels != 0)
        if not self.by_slice:
            return np.array([bool(labelled[levels == v].any()) for v in self.values], bool)
        found = np.zeros(len(self.names), bool)
        found[first : first + weights.shape[2]] = labelled.any(axis=(0, 1))
        return found


def distribution(
    lesions: Sequence[Body], scene: Scene, atlas: Atlas, where: Anatomy, *, per_slice: bool
) -> dict[str, list[Row]]:
    """The sheets of the atlas by name: one for each lesion, one for all, and the coverage.

    The cells of a lesion's sheet are percentages of what the atlas holds of it, so they add up to
    100 however little that is; voxels in rows without any vertebral level are left out there.
    `coverage` says in mm³ how much of the lesion this speaks of. A lesion that no tract touches
    has NaN in its cells and 0 in its sums.

    Args:
      lesions: of the scene.
      scene: cropped; the atlas is not.
      atlas: as stored.
      where: from the stored to the working axes.
      per_slice: rows are axial slices (numbered as stored) instead of vertebral levels.
    """
    x, y = scene.corner
    crop = (slice(x, x + scene.labels.shape[0]), slice(y, y + scene.labels.shape[1]))
    tracts = where.turn(atlas.tracts)[crop].astype(np.float64)
    whole_levels = where.turn(atlas.levels)
    levels = whole_levels[crop]
    rows = _slice_rows(whole_levels, where) if per_slice else _level_rows(whole_levels)
    sheets: dict[str, list[Row]] = {}
    coverage: list[Row] = []
    everything = np.zeros(scene.labels.shape)
    for body in lesions:
        here = (body.weight, tracts[body.box], levels[body.box])
        everything[body.box] += body.weight
        sheets[f"lesion#{body.label}_distribution"] = _spread(here, rows, atlas, body.box[2].start)
        coverage.append(_coverage(body.label, here, scene.voxel_mm3))
    whole = where.turn(atlas.tracts)
    sheets[OCCUPIED] = _occupied(everything, tracts, levels, (whole, whole_levels), rows, atlas)
    sheets[COVERAGE] = coverage
    return sheets


def level_table(
    lesions: Sequence[Body], scene: Scene, levels: Real[np.ndarray, "i j k"], where: Anatomy
) -> list[Row]:
    """Volume of each lesion in each vertebral level it touches; level 0 is where there is none.

    The share of the cord is NaN without a cord, and in a level without any.
    """
    x, y = scene.corner
    nx, ny, _ = scene.labels.shape
    turned = where.turn(levels)[x : x + nx, y : y + ny]
    rows: list[Row] = []
    for body in lesions:
        here = turned[body.box]
        for value in np.unique(here[body.weight > 0]):
            volume = float(body.weight[here == value].sum()) * scene.voxel_mm3
            cord = float("nan") if scene.cord is None else float(scene.cord[turned == value].sum())
            rows.append(
                {
                    "label": body.label,
                    "level": _plain(value),
                    "volume [mm3]": volume,
                    "share_of_lesion [%]": 100 * volume / (body.volume * scene.voxel_mm3),
                    "cord_volume [mm3]": cord * scene.voxel_mm3,
                    "share_of_cord [%]": (
                        100 * volume / (cord * scene.voxel_mm3) if cord > 0 else float("nan")
                    ),
                }
            )
    return rows


def _level_rows(levels: np.ndarray) -> Rows:
    values = [value for value in np.unique(levels) if value != 0]
    names = tuple(str(value.item()) for value in values)
    return Rows(names, tuple(float(v) for v in values), (), "total % (all vert)")


def _slice_rows(levels: np.ndarray, where: Anatomy) -> Rows:
    count = levels.shape[2]
    names = tuple(str(where.index(2, z)) for z in range(count))
    frequent = tuple(_most_frequent(levels[:, :, z]) for z in range(count))
    return Rows(names, (), frequent, "total % (all slice)")


def _most_frequent(levels: np.ndarray) -> str:
    values, counts = np.unique(levels[levels != 0], return_counts=True)
    return str(_plain(values[counts.argmax()])) if values.size else "N/A"


def _plain(value: float | np.number) -> int | float:
    """A whole number without its point: level 4, not 4.0."""
    number = float(value)
    return int(number) if number.is_integer() else number


def _spread(here: _Cut, rows: Rows, atlas: Atlas, first: int) -> list[Row]:
    weight, _, levels = here
    sums = rows.sums(*here, first) * rows.touched(weight, levels, first)[:, None]
    total = sums.sum()
    cells = 100 * sums / total if total > 0 else np.full(sums.shape, np.nan)
    known = np.nan_to_num(cells)
    groups = {ALL_TRACTS: tuple(range(len(atlas.names))), **atlas.groups}
    sheet = []
    for number, name in enumerate(rows.names):
        row = _row(name, rows.vert_levels[number : number + 1])
        row |= dict(zip(atlas.names, cells[number].tolist(), strict=True))
        row |= {g: float(known[number, list(m)].sum()) for g, m in groups.items()}
        sheet.append(row)
    last = _row(rows.total, ("",) if rows.vert_levels else ())
    last |= dict(zip(atlas.names, known.sum(axis=0).tolist(), strict=True))
    last |= {g: float(known[:, list(m)].sum()) for g, m in groups.items()}
    return [*sheet, last]


def _occupied(
    weight: np.ndarray,
    tracts: np.ndarray,
    levels: np.ndarray,
    whole: tuple[np.ndarray, np.ndarray],
    rows: Rows,
    atlas: Atlas,
) -> list[Row]:
    taken = rows.sums(weight, tracts, levels)
    touched = rows.touched(weight, levels)
    everywhere = np.ones(whole[0].shape[:3])
    there = rows.sums(everywhere, whole[0].astype(np.float64), whole[1])
    sheet = []
    for number, name in enumerate(rows.names):
        row = _row(name, rows.vert_levels[number : number + 1])
        if touched[number]:
            row |= _shares(taken[number], there[number], atlas)
        else:
            row |= dict.fromkeys(atlas.names, 0.0) | dict.fromkeys(atlas.groups, float("nan"))
        sheet.append(row)
    last = _row(rows.total, ("",) if rows.vert_levels else ())
    last |= _shares(
        np.einsum("xyz,xyzt->t", weight, tracts), whole[0].sum(axis=(0, 1, 2), dtype=float), atlas
    )
    return [*sheet, last]


def _shares(taken: np.ndarray, there: np.ndarray, atlas: Atlas) -> Row:
    row = {name: _percent(a, b) for name, a, b in zip(atlas.names, taken, there, strict=True)}
    for group, members in atlas.groups.items():
        row[group] = _percent(taken[list(members)].sum(), there[list(members)].sum())
    return row


def _percent(part: float, whole: float) -> float:
    return float(100 * part / whole) if whole > 0 else float("nan")


def _row(name: str, vert_level: tuple[str, ...]) -> Row:
    return {ROW: name} | ({VERT_LEVEL: vert_level[0]} if vert_level else {})


def _coverage(label: int, here: _Cut, voxel_mm3: float) -> Row:
    weight, tracts, levels = here
    volume = float(weight.sum()) * voxel_mm3
    in_tracts = float(np.einsum("xyz,xyzt->", weight, tracts)) * voxel_mm3
    in_levels = float(weight[levels != 0].sum()) * voxel_mm3
    return {
        "label": label,
        "volume [mm3]": volume,
        "in_atlas [mm3]": in_tracts,
        "in_atlas [%]": 100 * in_tracts / volume,
        "in_levels [mm3]": in_levels,
        "in_levels [%]": 100 * in_levels / volume,
    }
