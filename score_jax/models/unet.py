"""U-Nets as nnU-Net builds them: plain or residual encoder, 2-D or 3-D, deep supervision.

Isensee et al., Nature Methods 2021 (PlainConvUNet) and MICCAI 2024 (ResidualEncoderUNet); shapes
and initial values as in dynamic-network-architectures 0.4.4.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from score_jax.models import convolution

SLOPE = 0.01  # of the leaky ReLU, nnU-Net's (and torch's) default
EPSILON = 1e-5  # of the instance norm


class UNet3D(nnx.Module):
    """A U-Net of residual or plain stages; 2-D when its kernels have two taps each.

    Args:
      in_channels: channels of the image.
      out_channels: regions (sigmoid) or classes with background (softmax).
      features: channels of each stage, from full resolution down.
      kernels: taps of each stage's convolutions, one odd number an axis.
      strides: stride of each stage's first convolution; the first stage's is usually all ones.
      convs_encoder: convolutions a stage, or residual blocks a stage with `residual`.
      convs_decoder: convolutions a decoder stage, one entry fewer, from the lowest up.
      residual: residual encoder with a stem (nnU-Net's ResEnc presets).
      deep_supervision: return a tuple of logits, finest first, instead of the finest alone.
      rngs: source of the initial weights (He normal for leaky ReLU, biases 0).

    Raises:
      ValueError: lists of unequal length.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        features: Sequence[int],
        kernels: Sequence[Sequence[int]],
        strides: Sequence[Sequence[int]],
        convs_encoder: Sequence[int],
        convs_decoder: Sequence[int],
        residual: bool = False,
        deep_supervision: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        stages = len(features)
        lengths = {
            "kernels": len(kernels),
            "strides": len(strides),
            "convs_encoder": len(convs_encoder),
            "convs_decoder": len(convs_decoder) + 1,
        }
        for name, length in lengths.items():
            if length != stages:
                raise ValueError(f"{name}: got {length} stages; features has {stages}")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.ndim = len(kernels[0])
        self.deep_supervision = deep_supervision
        self.remat = False  # stages are computed again in the backward pass, to save memory
        self.strides = tuple(tuple(stride) for stride in strides)

        self.stem = (
            ConvNormAct(in_channels, features[0], kernels[0], rngs=rngs) if residual else None
        )
        self.encoder = nnx.List()
        channels = features[0] if residual else in_channels
        for width, kernel, stride, count in zip(
            features, kernels, strides, convs_encoder, strict=True
        ):
            block = ResidualBlock if residual else ConvNormAct
            self.encoder.append(
                nnx.List(_stage(block, channels, width, kernel, stride, count, rngs))
            )
            channels = width

        self.decoder = nnx.List()
        for level in range(stages - 2, -1, -1):  # from the lowest resolution up
            self.decoder.append(
                UpStage(
                    features[level + 1],
                    features[level],
                    out_channels,
                    kernel=kernels[level],
                    stride=strides[level + 1],
                    convs=convs_decoder[stages - 2 - level],
                    rngs=rngs,
                )
            )

    @property
    def divisor(self) -> tuple[int, ...]:
        """Patch sizes must be multiples of this: the product of the strides along each axis."""
        total = [1] * self.ndim
        for stride in self.strides:
            total = [t * s for t, s in zip(total, stride, strict=True)]
        return tuple(total)

    def __call__(
        self, x: Float[Array, "b *space c_in"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, "b *space c_out"] | tuple[Float[Array, "b *_ c_out"], ...]:
        """Logits at full resolution, or with deep supervision a tuple, finest first.

        `key` is accepted so that all models are called alike; nothing here is random.

        Raises:
          ValueError: a size that is not a multiple of `divisor`.
        """
        del key
        wrong = [n % d for n, d in zip(x.shape[1:-1], self.divisor, strict=True)]
        if any(wrong):
            raise ValueError(
                f"input: got size {x.shape[1:-1]}; expected multiples of {self.divisor}"
            )
        skips = []
        if self.stem is not None:
            x = self.stem(x)
        kept = jax.checkpoint if self.remat else lambda stage: stage
        for stage in self.encoder:
            x = kept(partial(_chain, stage))(x)
            skips.append(x)
        outputs = []
        for number, (stage, skip) in enumerate(zip(self.decoder, skips[-2::-1], strict=True)):
            x = kept(stage.__call__)(x, skip)
            if self.deep_supervision or number == len(self.decoder) - 1:
                outputs.append(stage.head(x))
        return tuple(outputs[::-1]) if self.deep_supervision else outputs[-1]

    @classmethod
    def from_architecture(
        cls,
        architecture: Mapping[str, Any],
        in_channels: int,
        out_channels: int,
        *,
        deep_supervision: bool = False,
        rngs: nnx.Rngs,
    ) -> "UNet3D":
        """Build from the ``architecture`` entry of nnU-Net's plans (2.3 or newer).

        Raises:
          ValueError: a network class or an option that these networks do not have.
        """
        options = architecture_options(architecture)
        return cls(
            in_channels, out_channels, deep_supervision=deep_supervision, rngs=rngs, **options
        )


def architecture_options(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `UNet3D` from the ``architecture`` entry of nnU-Net's plans.

    Raises:
      ValueError: a network class or an option that these networks do not have.
    """
    name = str(architecture.get("network_class_name", "")).rsplit(".", 1)[-1]
    if name not in ("PlainConvUNet", "ResidualEncoderUNet"):
        raise ValueError(
            f"network_class_name: got {name!r}; expected PlainConvUNet or ResidualEncoderUNet"
        )
    kwargs = architecture["arch_kwargs"]
    residual = name == "ResidualEncoderUNet"
    stages = int(kwargs["n_stages"])
    norm = {"eps": EPSILON, "affine": True} | dict(kwargs.get("norm_op_kwargs") or {})
    slope = (kwargs.get("nonlin_kwargs") or {}).get("negative_slope", SLOPE)
    expected = [
        ("conv_bias", kwargs.get("conv_bias", True), True),
        ("norm_op", str(kwargs.get("norm_op")).rsplit(".", 1)[-1][:12], "InstanceNorm"),
        ("norm_op_kwargs", norm, {"eps": EPSILON, "affine": True}),
        ("dropout_op", kwargs.get("dropout_op"), None),
        ("nonlin", str(kwargs.get("nonlin")).rsplit(".", 1)[-1], "LeakyReLU"),
        ("nonlin_kwargs.negative_slope", slope, SLOPE),
    ]
    for option, got, want in expected:
        if got != want:
            raise ValueError(f"arch_kwargs.{option}: got {got}; expected {want}")
    convs = kwargs["n_blocks_per_stage" if residual else "n_conv_per_stage"]
    return {
        "features": tuple(_each(kwargs["features_per_stage"], stages)),
        "kernels": tuple(tuple(k) for k in kwargs["kernel_sizes"]),
        "strides": tuple(tuple(s) for s in kwargs["strides"]),
        "convs_encoder": tuple(_each(convs, stages)),
        "convs_decoder": tuple(_each(kwargs["n_conv_per_stage_decoder"], stages - 1)),
        "residual": residual,
    }


def _each(value: int | Sequence[int], count: int) -> Sequence[int]:
    return [value] * count if isinstance(value, int) else value


def _chain(blocks: Iterable[nnx.Module], x: Array) -> Array:
    for block in blocks:
        x = block(x)
    return x


def _stage(
    block: Any,
    channels: int,
    width: int,
    kernel: Sequence[int],
    stride: Sequence[int],
    count: int,
    rngs: nnx.Rngs,
) -> list[Any]:
    first = block(channels, width, kernel, stride=stride, rngs=rngs)
    return [first, *(block(width, width, kernel, rngs=rngs) for _ in range(count - 1))]


class Conv(nnx.Module):
    """A convolution with bias, He-normal weights ``(*taps, in, out)``."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: Sequence[int],
        *,
        stride: Sequence[int] | None = None,
        bias: bool = True,
        rngs: nnx.Rngs,
    ) -> None:
        self.kernel = nnx.Param(_he_normal(rngs.params(), (*kernel, c_in, c_out), fan=c_in))
        self.bias = nnx.Param(jnp.zeros(c_out)) if bias else None
        self.stride = tuple(stride) if stride is not None else (1,) * len(kernel)

    def __call__(self, x: Float[Array, "b *space c_in"]) -> Float[Array, "b *out c_out"]:
        x = convolution.convolve(x, self.kernel[...].astype(x.dtype), self.stride)
        return x if self.bias is None else x + _channels(self.bias[...], x)


class InstanceNorm(nnx.Module):
    """Zero mean and unit variance of each channel of each sample, then scale and bias.

    The variance is the biased one, and is computed from deviations in float32: the shortcut
    E[x^2] - E[x]^2 loses digits on images whose mean is far from zero.
    """

    def __init__(self, channels: int) -> None:
        self.scale = nnx.Param(jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))

    def __call__(self, x: Float[Array, "b *space c"]) -> Float[Array, "b *space c"]:
        return normalised(x, self.scale[...], self.bias[...], 1.0)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalised(
    x: Float[Array, "b *space c"], scale: Float[Array, " c"], bias: Float[Array, " c"], slope: float
) -> Float[Array, "b *space c"]:
    """Instance norm, then a leaky ReLU of this slope (1: none).

    Its gradient is written by hand: it keeps nothing of the array's size but `x` itself.
    """
    return _normalised_forward(x, scale, bias, slope)[0]


def _normalised_forward(
    x: Array, scale: Array, bias: Array, slope: float
) -> tuple[Array, tuple[Array, ...]]:
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    axes = tuple(range(1, x.ndim - 1))
    mean = wide.mean(axes, keepdims=True)
    variance = jnp.square(wide - mean).mean(axes, keepdims=True)
    inverse = jax.lax.rsqrt(variance + EPSILON)
    y = (wide - mean) * (inverse * _channels(scale, wide)) + _channels(bias, wide)
    y = jnp.where(y >= 0, y, slope * y) if slope != 1 else y
    return y.astype(x.dtype), (x, scale, bias, mean, inverse)


def _normalised_backward(
    slope: float, saved: tuple[Array, ...], dy: Array
) -> tuple[Array, Array, Array]:
    x, scale, bias, mean, inverse = saved
    wide, dy = x.astype(mean.dtype), dy.astype(mean.dtype)
    axes = tuple(range(1, x.ndim - 1))
    # The mean waits for dy: nothing else in `unit` does, so XLA:CPU would compute it as soon as
    # the forward pass allows and keep it until now (it ignores jax.checkpoint and barriers).
    mean = mean + convolution.TINY * dy[(slice(None), *(slice(1),) * len(axes))]
    unit, factor = (wide - mean) * inverse, _channels(scale, wide)
    if slope != 1:
        dy = jnp.where(unit * factor + _channels(bias, wide) >= 0, dy, slope * dy)
    of_bias = dy.mean(axes, keepdims=True)
    of_scale = (dy * unit).mean(axes, keepdims=True)
    dx = inverse * factor * (dy - of_bias - unit * of_scale)
    voxels = x[..., 0].size / len(x)
    d_scale, d_bias = (voxels * d.sum(tuple(range(d.ndim - 1))) for d in (of_scale, of_bias))
    return dx.astype(x.dtype), d_scale.astype(scale.dtype), d_bias.astype(bias.dtype)


normalised.defvjp(_normalised_forward, _normalised_backward)


class ConvNormAct(nnx.Module):
    """Convolution, instance norm, leaky ReLU."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: Sequence[int],
        *,
        stride: Sequence[int] | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        self.conv = Conv(c_in, c_out, kernel, stride=stride, rngs=rngs)
        self.norm = InstanceNorm(c_out)

    def __call__(self, x: Float[Array, "b *space c_in"]) -> Float[Array, "b *out c_out"]:
        return normalised(self.conv(x), self.norm.scale[...], self.norm.bias[...], SLOPE)


class ResidualBlock(nnx.Module):
    """Two convolutions beside a skip, leaky ReLU after their sum (He et al., ResNet-D).

    The skip averages where the block strides and projects (1 x 1, no bias, instance norm) where
    the channels change. The second norm starts at zero, so a new block is the identity.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: Sequence[int],
        *,
        stride: Sequence[int] | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        self.stride = tuple(stride) if stride is not None else (1,) * len(kernel)
        self.first = ConvNormAct(c_in, c_out, kernel, stride=self.stride, rngs=rngs)
        self.second = Conv(c_out, c_out, kernel, rngs=rngs)
        self.norm = InstanceNorm(c_out)
        self.norm.scale[...] = jnp.zeros(c_out)
        project = c_in != c_out
        self.project = (
            Conv(c_in, c_out, (1,) * len(kernel), bias=False, rngs=rngs) if project else None
        )
        self.project_norm = InstanceNorm(c_out) if project else None

    def __call__(self, x: Float[Array, "b *space c_in"]) -> Float[Array, "b *out c_out"]:
        skip = x
        if any(stride != 1 for stride in self.stride):
            skip = _average_pool(skip, self.stride)
        if self.project is not None and self.project_norm is not None:
            skip = self.project_norm(self.project(skip))
        return jax.nn.leaky_relu(self.norm(self.second(self.first(x))) + skip, SLOPE)


class UpStage(nnx.Module):
    """Transposed convolution, concatenation with the skip, convolutions; a head for logits."""

    def __init__(
        self,
        c_below: int,
        c_skip: int,
        out_channels: int,
        *,
        kernel: Sequence[int],
        stride: Sequence[int],
        convs: int,
        rngs: nnx.Rngs,
    ) -> None:
        # torch takes a transposed convolution's fan-in from its *output* channels
        self.up_kernel = nnx.Param(
            _he_normal(rngs.params(), (*stride, c_below, c_skip), fan=c_skip)
        )
        self.up_bias = nnx.Param(jnp.zeros(c_skip))
        self.convs = nnx.List(
            _stage(ConvNormAct, 2 * c_skip, c_skip, kernel, (1,) * len(kernel), convs, rngs)
        )
        self.head = Conv(c_skip, out_channels, (1,) * len(kernel), rngs=rngs)

    def __call__(
        self, x: Float[Array, "b *low c_below"], skip: Float[Array, "b *space c_skip"]
    ) -> Float[Array, "b *space c_skip"]:
        x = convolution.upsample(x, self.up_kernel[...].astype(x.dtype))
        x = jnp.concatenate([x + _channels(self.up_bias[...], x), skip], axis=-1)
        for conv in self.convs:
            x = conv(x)
        return x


def _channels(vector: Array, like: Array) -> Array:
    return vector.astype(like.dtype).reshape((1,) * (like.ndim - 1) + (-1,))


def _average_pool(x: Array, stride: tuple[int, ...]) -> Array:
    """Mean over blocks of `stride` voxels, which divide the size (`UNet3D.divisor`)."""
    batch, *space, channels = x.shape
    blocks = [size for n, s in zip(space, stride, strict=True) for size in (n // s, s)]
    within = tuple(range(2, 2 + 2 * len(stride), 2))
    return x.reshape(batch, *blocks, channels).mean(within)


def _he_normal(key: Array, shape: tuple[int, ...], *, fan: int) -> Array:
    for taps in shape[:-2]:
        fan *= taps
    return (2 / ((1 + SLOPE**2) * fan)) ** 0.5 * jax.random.normal(key, shape)
