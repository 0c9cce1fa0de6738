"""Tiny training tasks with a stream of made-up batches, a function of seed and step."""

import contextlib

import numpy as np

from score_jax.arrays.regions import Region
from score_jax.config import ModelSpec, load_config
from score_jax.training.loop import Task

UNET = (
    "unet.features=[4, 6, 8]",
    "sampling.patch=[8, 8, 12]",
    "sampling.batch=2",
    "steps=6",
    "validate_each=3",
    "optimizer.warmup_steps=0",
    "optimizer.learning_rate=1e-2",
    "optimizer.kind=sgd",
    "augment.enabled=false",
)
INTENSITY = (
    "noise",
    "blur",
    "brightness",
    "contrast",
    "low_resolution",
    "gamma_inverted",
    "gamma",
)
MDGRU = (
    "model=mdgru",
    "mdgru.hidden=[3]",
    "mdgru.linear=[]",
    "mdgru.kernel=3",
    "sampling.patch=[8, 12]",
    "sampling.batch=2",
    "loss.kind=dice_ce",
    # turned and mirrored only: each further transform costs every test its compilation
    "augment.mirror_axes=[0]",
    *(f"augment.{name}.probability=0.0" for name in INTENSITY),
    "steps=6",
    "validate_each=3",
)
REGIONS = (Region("cord", (1, 2), 1), Region("lesion", (2,), 2))


def batch_of(config, seed, step, *, ignore=False):
    """A bright ball (cord) with a bright core (lesion) somewhere in noise."""
    rng = np.random.default_rng([seed, step])
    shape, count = config.sampling.patch, config.sampling.batch
    images, masks = [], []
    for _ in range(count):
        centre = [rng.uniform(0.3 * n, 0.7 * n) for n in shape]
        grid = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
        distance = sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) ** 0.5
        mask = np.stack([distance < 3.5, distance < 1.8], -1)
        image = mask.sum(-1) * 1.5 + rng.normal(0, 0.5, shape) - 0.5
        images.append(image[..., None])
        masks.append(np.concatenate([mask, mask[..., :1] * 0], -1) if ignore else mask)
    return np.stack(images).astype(np.float32), np.stack(masks).astype(np.uint8)


def make_task(overrides, *more, seeds=(0,), validate=None, ignore=False):
    config = load_config(overrides=(*overrides, *more))
    network = config.unet.arguments() if config.model == "unet" else None
    if network is None:
        names = ("ndim", "hidden", "linear", "kernel", "keep_rate")
        network = {name: getattr(config.mdgru, name) for name in names}
    spec = ModelSpec(
        kind=config.model,
        options=network,
        in_channels=1,
        channel_names=("T2w",),
        regions=REGIONS,
        exclusive=config.exclusive,
        tile=config.sampling.patch,
    )

    @contextlib.contextmanager
    def stream(first):
        def batches():
            for step in range(first, config.steps):
                each = [batch_of(config, seed, step, ignore=ignore) for seed in seeds]
                yield tuple(np.stack(part) for part in zip(*each, strict=True))

        yield batches()

    return Task(
        config=config,
        spec=spec,
        seeds=seeds,
        stream=stream,
        validate=validate or (lambda params, member: {}),
        ignore=ignore,
    )
