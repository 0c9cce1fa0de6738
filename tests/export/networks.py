"""Small networks of every kind, with weights away from their initial values."""

import jax
import numpy as np

from score_jax import models
from score_jax.arrays.regions import Region
from score_jax.config import ModelSpec

UNET_2D = {
    "features": (4, 6, 8),
    "kernels": ((3, 3), (1, 3), (3, 3)),
    "strides": ((1, 1), (2, 1), (1, 2)),
    "convs_encoder": (1, 2, 1),
    "convs_decoder": (1, 2),
}
UNET_3D = {
    "features": (4, 6),
    "kernels": ((1, 3, 3), (3, 3, 3)),
    "strides": ((1, 1, 1), (1, 2, 2)),
    "convs_encoder": (1, 1),
    "convs_decoder": (1,),
}
GRU = {"hidden": (4, 6), "linear": (5,), "kernel": 3}
GRU_2D = GRU | {"ndim": 2}
CASES = {
    "unet 2-D": ("unet", (8, 12), UNET_2D),
    "unet 3-D": ("unet", (4, 6, 8), UNET_3D),
    "residual, deep supervision": (
        "unet",
        (4, 6, 8),
        UNET_3D | {"residual": True, "deep_supervision": True},
    ),
    "mdgru 2-D": ("mdgru", (9, 12), GRU_2D | {"kernel": (3, 5)}),
    "mdgru 3-D": ("mdgru", (5, 7, 6), GRU | {"ndim": 3}),
    "put_r_back, sum": ("mdgru", (9, 12), GRU | {"ndim": 2, "put_r_back": True, "combine": "sum"}),
    "concat, residual": (
        "mdgru",
        (9, 12),
        GRU | {"ndim": 2, "combine": "concat", "residual": True},
    ),
}


def spec_of(kind, tile, options, channels=2):
    regions = (Region("cord", (1, 2), 1), Region("lesion", (2,), 2))
    return ModelSpec(
        kind=kind, options=options, in_channels=channels, channel_names=("a", "b")[:channels],
        regions=regions, tile=tile,
    )  # fmt: skip


def network_of(spec, seed):
    """Weights away from their initial values, so that no norm or bias is the identity."""
    options = {key: value for key, value in spec.options.items() if key != "deep_supervision"}
    model = models.build(spec.kind, spec.in_channels, spec.out_channels, options, seed=seed)
    rng = np.random.default_rng(seed)
    params = jax.tree.map(
        lambda leaf: np.asarray(leaf + 0.2 * rng.normal(size=leaf.shape), np.float32),
        models.parameters(model),
    )
    return params, jax.jit(models.functional(model))
