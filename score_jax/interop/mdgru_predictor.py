"""A network of MD-GRU as a model of ours: what its checkpoint does not say is asked for here."""

from collections.abc import Sequence
from typing import Any

from score_jax.arrays.regions import Region
from score_jax.config import ModelSpec, Preprocessing
from score_jax.errors import ConfigError
from score_jax.inference import Predictor
from score_jax.models import MDGRU, parameters


def predictor(
    network: MDGRU,
    *,
    classes: Sequence[str] = (),
    channels: Sequence[str] = (),
    highpass_sigma_mm: float = 5.0,
    tile: Sequence[int] = (),
    slice_axis: int = 2,
    name: str = "mdgru",
) -> Predictor:
    """`network` ready to predict, saved by ``predictor(...).save(folder)``.

    Images are taken in the orientation they are stored in, as MD-GRU takes them; whitened over the
    whole image, and tiled our way (Gaussian weights). The original's own windows and ramps are in
    `score_jax.interop.mdgru_pipeline`.

    Args:
      network: from `mdgru.from_torch` or `mdgru.from_tensorflow`.
      classes: names of the classes 1, 2, ... (background is class 0); "class1", ... by default.
      channels: names of the image files' channels in MD-GRU's order (``-f``).
      highpass_sigma_mm: MD-GRU's ``--subtractGaussSigma``: each channel is given a second time
        with a Gaussian of this width subtracted; 0 if the network was trained without.
      tile: inference window; by default 256 x 256 or 96 x 96 x 96. Larger is better.
      slice_axis: of a 2-D network, the axis whose slices it sees.
      name: how users call it.

    Raises:
      ConfigError: numbers of names that do not fit the network.
    """
    outputs, inputs, ndim = network.out_channels - 1, network.in_channels, network.ndim
    names = tuple(classes) or tuple(f"class{number + 1}" for number in range(outputs))
    if len(names) != outputs:
        raise ConfigError(
            f"classes: got {len(names)} names ({', '.join(names)}); the network has {outputs} "
            "besides the background"
        )
    copies = 2 if highpass_sigma_mm else 1
    images = tuple(channels) or tuple(f"image{number}" for number in range(inputs // copies))
    if len(images) * copies != inputs:
        raise ConfigError(
            f"channels: got {len(images)} {'with' if copies == 2 else 'without'} high-passed "
            f"copies; the network takes {inputs}",
            hint="highpass 0 if it was trained without them" if copies == 2 else "",
        )
    window = tuple(tile) or ((256, 256) if ndim == 2 else (96, 96, 96))
    if len(window) != ndim or min(window) < 1:
        raise ConfigError(f"tile: got {list(window)}; expected {ndim} positive numbers")
    spec = ModelSpec(
        kind="mdgru",
        options=options(network),
        in_channels=inputs,
        channel_names=images,
        regions=tuple(Region(label, (n + 1,), n + 1) for n, label in enumerate(names)),
        exclusive=True,
        preprocessing=Preprocessing(axcodes="", highpass_sigma_mm=highpass_sigma_mm),
        tile=window,
        slice_axis=slice_axis,
    )
    return Predictor(spec, [parameters(network)], name)


def options(network: MDGRU) -> dict[str, Any]:
    """The arguments of `MDGRU`, besides its channels, that build `network` again."""
    first = network.layers[0]

    def taps(name: str) -> tuple[int, ...]:
        along = [getattr(first.cells[axis][0], name).shape[:-2] for axis in range(2)]
        return (along[1][0], *along[0])

    found: dict[str, Any] = {
        "ndim": network.ndim,
        "hidden": tuple(layer.cells[0][0].h_kernel.shape[-2] for layer in network.layers),
        "linear": tuple(
            None if linear is None else linear.kernel.shape[-1] for linear in network.linears
        )[:-1],
        "kernel": taps("x_kernel"),
        "kernel_state": taps("h_kernel"),
        "keep_rate": network.drop[0],
    }
    extra = {
        "bernoulli": network.drop[1],
        "drop_candidates": network.drop[2],
        "residual": bool(network.shortcuts),
        "put_r_back": first.cells[0][0].put_r_back,
    }
    found.update({name: True for name, value in extra.items() if value})
    return found | ({} if first.combine == "mean" else {"combine": first.combine})
