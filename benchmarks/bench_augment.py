"""Core seconds to augment one patch, ours beside the originals' tools, all on one core.

    python benchmarks/bench_augment.py [--peer PYTHON] [--patches 100] [--only nnunet_3d mdgru_2d]

nnunet_3d: nnU-Net's recipe for 64^3, one channel, cord and lesion; the peer is batchgeneratorsv2 as
nnU-Net's trainer composes it. It needs `--peer`, the Python of an environment of its own, made by
`pip install torch batchgeneratorsv2`; without, only ours is timed.
mdgru_2d: MD-GRU's deformation and affine map of every patch, 8 channels, 192 x 192; the peer is
what MD-GRU calls, scipy's map_coordinates (order 3, labels 0), from the same source patch.
One JSON object a line: name, ours_s, peer_s (mean over draws of the process's time on the core, so
that other work on the machine does not count; compilation left out), ratio (below 1: ours is less).
`--vmap` times ours once more under vmap, where every transform is computed whether drawn or not.
"""

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable

import numpy as np

PATCHES = {"nnunet_3d": (64, 64, 64), "mdgru_2d": (192, 192)}
CHANNELS = {"nnunet_3d": 1, "mdgru_2d": 8}
SOURCES = {"nnunet_3d": (102, 102, 102), "mdgru_2d": (295, 295)}
MDGRU = {"spacing": (16, 16), "sigma": (2.0, 2.0), "rotation_deg": 15.0, "scaling": (1.2, 1.2)}


def sample(name: str) -> tuple[np.ndarray, np.ndarray]:
    """An image (space, channels) and its labels: a tube with a ball in it."""
    rng = np.random.default_rng(0)
    shape = SOURCES[name]
    grid = np.stack(np.meshgrid(*(np.arange(n) - n / 2 for n in shape), indexing="ij"))
    cord = np.hypot(grid[-1], grid[-2]) < 9
    labels = cord.astype(np.int16) + (cord & ((grid**2).sum(0) < 36))
    image = rng.normal(size=(*shape, CHANNELS[name])) + labels[..., None]
    return image.astype(np.float32), labels


def seconds(step: Callable[[int], object], patches: int) -> float:
    step(0)  # compile, fill caches
    start = time.process_time()
    for number in range(patches):
        step(number)
    return (time.process_time() - start) / patches


def ours(name: str, patches: int, *, vmap: bool = False) -> float:
    import jax
    import jax.numpy as jnp

    from score_jax.augment import augment, source_shape
    from score_jax.config import AugmentConfig, load_config, preset
    from score_jax.config.augment import DeformConfig, NoiseConfig

    patch, batch = PATCHES[name], 2
    config = AugmentConfig(mirror_axes=(0, 1, 2))
    if name == "mdgru_2d":
        base = load_config(preset("mdgru")).augment
        config = AugmentConfig(
            **{key: getattr(base, key) for key in base.__slots__ if key not in ("deform", "noise")},
            deform=DeformConfig(**MDGRU),
            noise=NoiseConfig(probability=0.0),
        )
    source = source_shape(config, patch)
    assert source == SOURCES[name], f"{source=}"
    image, labels = sample(name)
    masks = np.stack([labels >= 1, labels == 2], -1).astype(np.float32)
    images, targets = (jnp.asarray(np.stack([a] * batch)) for a in (image, masks))

    def one(key, image, target):
        return augment(key, image[None], target[None], config, patch)

    @jax.jit
    def step(key, images, targets):
        if vmap:
            return jax.vmap(one)(jax.random.split(key, batch), images, targets)
        return augment(key, images, targets, config, patch)

    def run(number: int) -> object:
        return jax.block_until_ready(step(jax.random.key(number), images, targets))

    return seconds(run, patches) / batch


def peer_nnunet_3d(patches: int) -> float:
    """nnU-Net's training transforms (nnunetv2 2.8, isotropic 3-D, regions), from its tables."""
    import torch
    from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
    from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
    from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
    from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
    from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
    from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
    from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
    from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
    from batchgeneratorsv2.transforms.utils.random import RandomTransform
    from batchgeneratorsv2.transforms.utils.seg_to_regions import (
        ConvertSegmentationToRegionsTransform,
    )

    torch.set_num_threads(1)  # as in nnU-Net's worker processes
    turn, factor = np.deg2rad(30), BGContrast((0.75, 1.25))
    gamma = {"gamma": BGContrast((0.7, 1.5)), "synchronize_channels": False,
             "p_per_channel": 1, "p_retain_stats": 1}  # fmt: skip
    steps = ComposeTransforms([
        SpatialTransform(
            PATCHES["nnunet_3d"], patch_center_dist_from_border=0, random_crop=False,
            p_elastic_deform=0, p_rotation=0.2, rotation=(-turn, turn), p_scaling=0.2,
            scaling=(0.7, 1.4), p_synchronize_scaling_across_axes=1, bg_style_seg_sampling=False,
        ),
        RandomTransform(GaussianNoiseTransform((0, 0.1), 1, True), 0.1),
        RandomTransform(GaussianBlurTransform((0.5, 1.0), False, False, 0.5, benchmark=True), 0.2),
        RandomTransform(MultiplicativeBrightnessTransform(factor, False, 1), 0.15),
        RandomTransform(ContrastTransform(factor, True, False, 1), 0.15),
        RandomTransform(
            SimulateLowResolutionTransform((0.5, 1), False, True, (), None, 0.5), 0.25
        ),
        RandomTransform(GammaTransform(p_invert_image=1, **gamma), 0.1),
        RandomTransform(GammaTransform(p_invert_image=0, **gamma), 0.3),
        MirrorTransform((0, 1, 2)),
        ConvertSegmentationToRegionsTransform([(1, 2), (2,)], 0),
    ])  # fmt: skip
    image, labels = sample("nnunet_3d")
    image, labels = (
        torch.from_numpy(np.moveaxis(image, -1, 0).copy()),
        torch.from_numpy(labels[None]),
    )

    def step(number: int) -> object:
        torch.manual_seed(number)
        np.random.seed(number)  # noqa: NPY002
        return steps(image=image.clone(), segmentation=labels.clone())

    return seconds(step, patches)


def peer_mdgru_2d(patches: int) -> float:
    from scipy.ndimage import map_coordinates

    image, labels = sample("mdgru_2d")
    window, middle = PATCHES["mdgru_2d"], (np.array(labels.shape) - 1) / 2
    spacing = MDGRU["spacing"]
    grid = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in window), indexing="ij"))

    def spline(axis: int) -> tuple[np.ndarray, np.ndarray]:
        at = np.arange(window[axis]) // spacing[axis]
        t = np.arange(window[axis]) % spacing[axis] / spacing[axis]
        taps = [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2]
        return at, np.stack(taps, 1) / 2

    (row, down), (column, across) = spline(0), spline(1)

    def step(number: int) -> object:
        rng = np.random.default_rng(number)
        scale = np.array(MDGRU["scaling"]) ** rng.uniform(-1, 1, 2)
        angle = np.deg2rad(MDGRU["rotation_deg"]) * rng.uniform(-1, 1)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        points = np.tensordot(turn * scale, grid, 1) + middle[:, None, None]
        shape = [n // s + 4 for n, s in zip(window, spacing, strict=True)]
        for axis, strength in enumerate(rng.uniform() * np.array(MDGRU["sigma"])):
            nodes = rng.normal(0, strength, shape)
            rows = sum(nodes[row + k] * down[:, k, None] for k in range(4))
            points[axis] += sum(rows[:, column + k] * across[None, :, k] for k in range(4))
        moved = [map_coordinates(image[..., c], points, order=3) for c in range(image.shape[-1])]
        return np.stack(moved, -1), map_coordinates(labels, points, order=0)

    return seconds(step, patches)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--peer", help="Python with torch and batchgeneratorsv2")
    parser.add_argument("--patches", type=int, default=100, help="draws to average over")
    parser.add_argument("--only", nargs="*", default=list(PATCHES), choices=list(PATCHES))
    parser.add_argument("--vmap", action="store_true", help="time ours under vmap too")
    parser.add_argument("--as-peer", choices=list(PATCHES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core, and the peer inherits it
    if options.as_peer:
        print(peer_nnunet_3d(options.patches))
        return
    for name in options.only:
        peer = None
        if name == "mdgru_2d":
            peer = peer_mdgru_2d(max(1, options.patches // 4))
        elif options.peer:
            command = [options.peer, __file__, "--as-peer", name, "--patches", str(options.patches)]
            peer = float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        own = ours(name, options.patches)
        line = {"name": name, "ours_s": own, "peer_s": peer, "ratio": own / peer if peer else None}
        if options.vmap:
            line["ours_vmap_s"] = ours(name, max(1, options.patches // 10), vmap=True)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
