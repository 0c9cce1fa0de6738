"""What a trained model needs to be used; it travels with the weights.

Units are in the names; axes are those of the canonical orientation (axcodes).
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from score_jax import strict
from score_jax.arrays.regions import Region, check_regions
from score_jax.errors import ConfigError

FORMAT = 1  # of ModelSpec; raised when an older program could not read a newer file


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """From a stored image to the network's grid; its inverse brings results back.

    Args:
      axcodes: canonical orientation (nibabel's letters: the direction an axis grows towards);
        empty keeps the stored one. SCT's "RPI" is "LAS" here.
      transpose: order of the axes after that (nnU-Net stores z, y, x and puts the coarsest first).
      spacing_mm: target voxel size in that order; 0 keeps an axis as it is, empty keeps all.
      normalization: one entry for all channels, or one a channel: "zscore", "rescale", "ct",
        "none".
      crop_nonzero: crop to the box of non-zero voxels first (nnU-Net).
      mask_normalization: z-score over the non-zero mask only.
      ct_statistics: for "ct", one (mean, std, 0.5 %, 99.5 %) a channel.
      highpass_sigma_mm: append ``image - gaussian(image)`` of each channel (MDGRU); 0 = off.
      order: spline order of the image's resampling.
    """

    axcodes: str = "RAS"
    transpose: tuple[int, ...] = (0, 1, 2)
    spacing_mm: tuple[float, ...] = ()
    normalization: tuple[Literal["zscore", "rescale", "ct", "none"], ...] = ("zscore",)
    crop_nonzero: bool = False
    mask_normalization: bool = False
    ct_statistics: tuple[tuple[float, ...], ...] = ()
    highpass_sigma_mm: float = 0.0
    order: int = 3

    def __post_init__(self) -> None:
        if self.axcodes and sorted(self.axcodes.translate(_SIDES)) != ["A", "R", "S"]:
            raise ConfigError(
                f"preprocessing.axcodes: got {self.axcodes!r}; expected three letters such as "
                "'RAS', or '' for the stored orientation"
            )
        if sorted(self.transpose) != [0, 1, 2]:
            raise ConfigError(
                f"preprocessing.transpose: got {list(self.transpose)}; expected an order of 0, 1, 2"
            )
        if self.spacing_mm and (len(self.spacing_mm) != 3 or min(self.spacing_mm) < 0):
            raise ConfigError(
                f"preprocessing.spacing_mm: got {list(self.spacing_mm)}; expected three values >= 0"
            )


_SIDES = str.maketrans("LPI", "RAS")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """All that inference must know about a model besides its weights.

    Args:
      kind: "mdgru" or "unet".
      options: the network's own arguments (see `score_jax.models`).
      in_channels: channels the network sees (high-passed ones included).
      channel_names: what each image channel is, e.g. ("T2w",).
      regions: what the outputs mean and the value each is written as.
      exclusive: softmax classes with a background channel first; else sigmoid regions.
      preprocessing: from the stored image to the network's grid.
      tile: size of the inference window; one number an axis the network sees.
      slice_axis: for a 2-D network, the axis whose slices it sees one by one.
      tile_step: step between tiles as a share of the tile.
      mirror_axes: axes the model may be mirrored along at test time (of the network's axes).
    """

    kind: str
    options: Mapping[str, Any]
    in_channels: int
    channel_names: tuple[str, ...]
    regions: tuple[Region, ...]
    exclusive: bool = False
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    tile: tuple[int, ...]
    slice_axis: int = 2
    tile_step: float = 0.5
    mirror_axes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_regions(self.regions)

    @property
    def out_channels(self) -> int:
        return len(self.regions) + int(self.exclusive)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON, with the format's number."""
        return {"format": FORMAT, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str = "model") -> "ModelSpec":
        """Read what `to_json` wrote.

        Raises:
          ConfigError: a newer format, an unknown key, a wrong type.
        """
        value = dict(value)
        found = value.pop("format", None)
        if found != FORMAT:
            raise ConfigError(
                f"{where}: got model format {found}; this version reads {FORMAT}",
                hint="upgrade score-jax, or export the model again",
            )
        return strict.read(cls, value, where)
