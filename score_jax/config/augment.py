"""Which random changes training patches undergo: one table a transform, each with its own odds."""

from dataclasses import dataclass, field, fields
from typing import Any

from score_jax.errors import ConfigError

Range = tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class SpatialConfig:
    """Rotation and scaling about the patch's centre (nnU-Net's spatial transform).

    Args:
      rotation_probability: chance of a rotation.
      rotation_deg: bound of the three angles of a 3-D rotation.
      in_plane_deg: bound of the angle in 2-D, and of slices that turn as one.
      elongated_deg: the same for a 2-D patch more than 1.5 times as long as wide.
      scaling_probability: chance of a scaling.
      scaling: bounds of the factor, one for all axes; above 1 things get smaller.
      slices_as_one: a 3-D patch whose first axis is less than a third of the longest turns within
        its slices only (nnU-Net's "dummy 2-D").
      order: of the interpolation of images: 1 linear (regions: the one with the largest share), or
        3 cubic spline (regions: nearest voxel), MD-GRU's.
    """

    rotation_probability: float = 0.2
    rotation_deg: float = 30.0
    in_plane_deg: float = 180.0
    elongated_deg: float = 15.0
    scaling_probability: float = 0.2
    scaling: Range = (0.7, 1.4)
    slices_as_one: bool = True
    order: int = 1

    def __post_init__(self) -> None:
        _probabilities(self, "spatial")
        _range(self, "spatial", "scaling")
        angles = (self.rotation_deg, self.in_plane_deg, self.elongated_deg)
        if not all(0 <= angle <= 180 for angle in angles):
            raise ConfigError(
                f"augment.spatial: got angles {list(angles)}; expected 0 to 180 degrees"
            )
        if self.order not in (1, 3):
            raise ConfigError(f"augment.spatial.order: got {self.order}; expected 1 or 3")


@dataclass(frozen=True, kw_only=True, slots=True)
class DeformConfig:
    """MD-GRU's deformation and affine map; what is given is drawn for every patch.

    Args:
      spacing: voxels between the nodes of the deformation's grid, one an axis; empty = none.
      sigma: standard deviation of the nodes' displacements in voxels, one an axis; each patch
        takes a random share, 0 to 1, of it.
      truncated: no displacement beyond 3 sigma.
      rotation_deg: bound of one angle about a random axis (in the plane in 2-D).
      scaling: bound s of a factor log-uniform in [1 / s, s], one an axis; empty = none.
      shift: width in voxels of a uniform shift about 0, one an axis; empty = none.
      reference_rotation: rotate in 3-D as the reference does, which shears (its axes all point
        into one octant, and its matrix has a slip); only to repeat its results.
    """

    spacing: tuple[int, ...] = ()
    sigma: Range = ()
    truncated: bool = False
    rotation_deg: float = 0.0
    scaling: Range = ()
    shift: Range = ()
    reference_rotation: bool = False

    def __post_init__(self) -> None:
        if len(self.spacing) != len(self.sigma):
            raise ConfigError(
                f"augment.deform: got spacing {list(self.spacing)}, sigma {list(self.sigma)}; "
                "expected one of each an axis"
            )
        if any(n < 1 for n in self.spacing) or any(s < 0 for s in (*self.sigma, *self.shift)):
            raise ConfigError(
                f"augment.deform: got spacing {list(self.spacing)}, sigma {list(self.sigma)}, "
                f"shift {list(self.shift)}; expected spacing >= 1, the others >= 0"
            )
        if any(s < 1 for s in self.scaling) or not 0 <= self.rotation_deg <= 180:
            raise ConfigError(
                f"augment.deform: got scaling {list(self.scaling)}, rotation_deg "
                f"{self.rotation_deg}; expected factors >= 1, and 0 to 180 degrees"
            )

    @property
    def active(self) -> bool:
        """Whether anything is drawn."""
        return bool(
            any(self.sigma)
            or self.rotation_deg
            or any(s > 1 for s in self.scaling)
            or any(self.shift)
        )

    def check_axes(self, ndim: int) -> None:
        """Refuse lists that do not fit patches of `ndim` axes."""
        for name in ("spacing", "scaling", "shift"):
            got = getattr(self, name)
            if got and len(got) != ndim:
                raise ConfigError(
                    f"augment.deform.{name}: got {list(got)}; expected {ndim} values, one an axis "
                    "of the patch"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseConfig:
    """Gaussian noise: `std` is the upper bound of its standard deviation, in the image's units."""

    probability: float = 0.1
    std: float = 0.1

    def __post_init__(self) -> None:
        _probabilities(self, "noise")
        if self.std < 0:
            raise ConfigError(f"augment.noise.std: got {self.std}; expected >= 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class BlurConfig:
    """Gaussian blur: `sigma` in voxels, drawn for every axis of every channel that is hit."""

    probability: float = 0.2
    channel_probability: float = 0.5
    sigma: Range = (0.5, 1.0)

    def __post_init__(self) -> None:
        _probabilities(self, "blur")
        _range(self, "blur", "sigma")


@dataclass(frozen=True, kw_only=True, slots=True)
class FactorConfig:
    """Brightness or contrast: a factor for each channel, below or above 1 equally often."""

    probability: float = 0.15
    factor: Range = (0.75, 1.25)

    def __post_init__(self) -> None:
        _probabilities(self, "brightness, contrast")
        _range(self, "brightness, contrast", "factor")


@dataclass(frozen=True, kw_only=True, slots=True)
class LowResolutionConfig:
    """Sampled down by `zoom`, the same along all axes, and up again, each channel for itself."""

    probability: float = 0.25
    channel_probability: float = 0.5
    zoom: Range = (0.5, 1.0)

    def __post_init__(self) -> None:
        _probabilities(self, "low_resolution")
        _range(self, "low_resolution", "zoom")
        if self.zoom[1] > 1:
            raise ConfigError(
                f"augment.low_resolution.zoom: got {list(self.zoom)}; expected at most 1"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class GammaConfig:
    """Power law on each channel's own range; mean and deviation stay."""

    probability: float = 0.3
    exponent: Range = (0.7, 1.5)

    def __post_init__(self) -> None:
        _probabilities(self, "gamma")
        _range(self, "gamma", "exponent")


@dataclass(frozen=True, kw_only=True, slots=True)
class BiasFieldConfig:
    """Smooth multiplicative field, exp of a cubic with coefficients within +- `strength`."""

    probability: float = 0.0
    strength: float = 0.5

    def __post_init__(self) -> None:
        _probabilities(self, "bias_field")
        if self.strength < 0:
            raise ConfigError(f"augment.bias_field.strength: got {self.strength}; expected >= 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class GhostConfig:
    """Ghosts of periodic motion along one axis.

    Args:
      probability: chance of them.
      amplitude: bounds of the modulation of k-space; each of two ghosts has half of it.
      distance: bounds of the ghosts' distance, as a share of the patch's length.
      axes: phase-encoding axes to choose from; empty = all.
    """

    probability: float = 0.0
    amplitude: Range = (0.1, 0.5)
    distance: Range = (0.1, 0.5)
    axes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _probabilities(self, "ghost")
        _range(self, "ghost", "amplitude")
        _range(self, "ghost", "distance")
        _axes(self, "ghost")


@dataclass(frozen=True, kw_only=True, slots=True)
class MetalConfig:
    """An implant: no signal inside, things displaced and signal piled up around it.

    Args:
      probability: chance of one.
      radius: bounds of its radius in voxels.
      displacement: bounds of the largest displacement along the readout axis, in voxels.
      axes: readout axes to choose from; empty = all.
    """

    probability: float = 0.0
    radius: Range = (2.0, 6.0)
    displacement: Range = (1.0, 4.0)
    axes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _probabilities(self, "metal")
        _range(self, "metal", "radius")
        _range(self, "metal", "displacement")
        _axes(self, "metal")


@dataclass(frozen=True, kw_only=True, slots=True)
class ThickSlicesConfig:
    """Resolution lost along one axis, as in slices `thickness` voxels thick."""

    probability: float = 0.0
    thickness: Range = (1.5, 4.0)
    axes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _probabilities(self, "thick_slices")
        _range(self, "thick_slices", "thickness")
        _axes(self, "thick_slices")
        if self.thickness[0] < 1:
            raise ConfigError(
                f"augment.thick_slices.thickness: got {list(self.thickness)}; expected >= 1"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentConfig:
    """Augmentation on the device, drawn anew for every patch; training data only.

    The defaults are nnU-Net's, but for `mirror_axes`. MD-GRU's are in `configs/mdgru.toml`. The
    last four tables are off until they get a probability. Order, sources: docs/augmentation.md.

    Args:
      enabled: all of it.
      mirror_axes: axes of the patch mirrored with probability one half, and at test time; nnU-Net
        takes all.
      masked: what was 0 in every channel is 0 again afterwards (images normalised in a mask).
      spatial: see `SpatialConfig`; and so on.
    """

    enabled: bool = True
    mirror_axes: tuple[int, ...] = (0,)
    masked: bool = False
    spatial: SpatialConfig = field(default_factory=SpatialConfig)
    deform: DeformConfig = field(default_factory=DeformConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    blur: BlurConfig = field(default_factory=BlurConfig)
    brightness: FactorConfig = field(default_factory=FactorConfig)
    contrast: FactorConfig = field(default_factory=FactorConfig)
    low_resolution: LowResolutionConfig = field(default_factory=LowResolutionConfig)
    gamma_inverted: GammaConfig = field(default_factory=lambda: GammaConfig(probability=0.1))
    gamma: GammaConfig = field(default_factory=GammaConfig)
    bias_field: BiasFieldConfig = field(default_factory=BiasFieldConfig)
    ghost: GhostConfig = field(default_factory=GhostConfig)
    metal: MetalConfig = field(default_factory=MetalConfig)
    thick_slices: ThickSlicesConfig = field(default_factory=ThickSlicesConfig)

    def __post_init__(self) -> None:
        if len(set(self.mirror_axes)) < len(self.mirror_axes) or not set(self.mirror_axes) <= {
            0,
            1,
            2,
        }:
            raise ConfigError(
                f"augment.mirror_axes: got {list(self.mirror_axes)}; expected different axes, "
                "0 to 2"
            )

    def check_axes(self, ndim: int) -> None:
        """Refuse axes, or lists of one value an axis, that do not fit patches of `ndim` axes."""
        self.deform.check_axes(ndim)
        for name in ("mirror_axes", "ghost.axes", "metal.axes", "thick_slices.axes"):
            axes: Any = self
            for part in name.split("."):
                axes = getattr(axes, part)
            if any(axis >= ndim for axis in axes):
                raise ConfigError(
                    f"augment.{name}: got {list(axes)}; expected axes below {ndim}, the number of "
                    "axes of the patch"
                )


def _probabilities(config: Any, where: str) -> None:
    for item in fields(config):
        value = getattr(config, item.name)
        if item.name.endswith("probability") and not 0 <= value <= 1:
            raise ConfigError(f"augment.{where}: got {item.name} {value}; expected 0 to 1")


def _range(config: Any, where: str, name: str) -> None:
    value = getattr(config, name)
    if len(value) != 2 or not 0 < value[0] <= value[1]:
        raise ConfigError(
            f"augment.{where}: got {name} {list(value)}; expected two numbers above 0, the smaller "
            "first"
        )


def _axes(config: Any, where: str) -> None:
    if not set(config.axes) <= {0, 1, 2}:
        raise ConfigError(f"augment.{where}.axes: got {list(config.axes)}; expected 0, 1 or 2")
