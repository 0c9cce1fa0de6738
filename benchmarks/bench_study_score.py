"""What a scale of `score-jax study score` costs: `python benchmarks/bench_study_score.py`.

For each scale one network's training step and one slice's segmentation are compiled and timed on
this machine (processor seconds beside the clock's), XLA says how much memory a step holds, and the
study's time follows by counting: networks x steps, scans x slices x networks. Nothing is trained.
`--scales smoke,small,full`, `--steps N` timed, `--out FILE`.
"""

import argparse
import json
import os
import platform
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from score_jax import checkpointing, models
from score_jax.augment import source_shape
from score_jax.config import ModelSpec
from score_jax.data.cases import regions_from_names
from score_jax.study.score_options import SCALES, read_options
from score_jax.study.score_training import targets
from score_jax.training import optimizer
from score_jax.training.step import TrainState, make_step

CHANNELS, SLICES = 8, 12
DRAWN = {"cord", "gm", "lesion", "canal", "ah", "ph", "gc"}


def timed(work, repeats):
    """Median seconds of the clock and of the processor."""
    clock, processor = [], []
    for _ in range(repeats):
        start = time.perf_counter(), time.process_time()
        jax.block_until_ready(work())
        clock.append(time.perf_counter() - start[0])
        processor.append(time.process_time() - start[1])
    return float(np.median(clock)), float(np.median(processor))


def measure(scale, repeats):
    options, config = read_options(scale)
    spec = ModelSpec(
        kind="mdgru",
        options={k: getattr(config.mdgru, k) for k in config.mdgru.__slots__},
        in_channels=CHANNELS,
        channel_names=tuple(f"image_{c}" for c in range(CHANNELS)),
        regions=regions_from_names(["cord", "gm"]),
        exclusive=True,
        tile=config.sampling.patch,
    )
    apply = models.functional(nnx.eval_shape(lambda: checkpointing.build_model(spec)))
    params = models.parameters(checkpointing.build_model(spec))
    chain = optimizer.build(config.optimizer, 1000)
    stacked = jax.tree.map(lambda a: a[None], params)
    state = TrainState(stacked, jax.vmap(chain.init)(stacked), ())
    size = source_shape(config.augment, config.sampling.patch)
    rng, batch = np.random.default_rng(0), config.sampling.batch
    images = rng.normal(size=(1, batch, *size, CHANNELS)).astype(np.float32)
    masks = (rng.random((1, batch, *size, 2)) > 0.5).astype(np.uint8)
    keys = jax.random.split(jax.random.key(0), 1)
    step = make_step(apply, chain, config)
    start = time.perf_counter()
    state, found = step(state, images, masks, keys)
    jax.block_until_ready(found)
    compiling = time.perf_counter() - start
    held = {"state": state}

    def one():
        held["state"], metrics = step(held["state"], images, masks, keys)
        return metrics

    clock, processor = timed(one, repeats)
    tile = jnp.zeros((1, *config.sampling.patch, CHANNELS))
    network = jax.jit(apply).lower(params, tile).compile()
    jax.block_until_ready(network(params, tile))
    forward = timed(lambda: network(params, tile), 3 * repeats)
    side = round(options.field_of_view_mm / options.grid_mm)
    tiles = int(np.prod([np.ceil(max(0, side - p) / (p / 2)) + 1 for p in config.sampling.patch]))
    row = {
        "scale": scale, "weights": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "patch": list(config.sampling.patch), "batch": batch,
        "compile_s": round(compiling, 1), "step_s": round(clock, 4),
        "step_processor_s": round(processor, 4), "tile_s": round(forward[0], 4),
        "tile_processor_s": round(forward[1], 4), "tiles_a_slice": tiles,
        "step_temporary_mb": memory(apply, chain, config, params, images, masks),
    }  # fmt: skip
    return row | counted(options, row)


def memory(apply, chain, config, params, images, masks):
    """Temporary memory of one network's step, as XLA plans it on this platform."""
    from score_jax.training.step import _member_step

    member = _member_step(apply, chain, config, False)
    state = TrainState(params, chain.init(params), ())
    arguments = (state, images[0], masks[0], jax.random.key(0))
    analysis = jax.jit(member).lower(*arguments).compile().memory_analysis()
    return None if analysis is None else round(analysis.temp_size_in_bytes / 2**20, 1)


def counted(options, row):
    """Networks, steps and slices of a study of simulated people."""
    groups, raters = 2, len(options.raters)
    steps = networks = tiles = 0
    scans = options.subjects * (options.scans + 1)
    for target in targets(options, DRAWN):
        of = len(target.groups) * target.folds * (raters if target.raters == "all" else 1)
        asked = raters if target.raters == "all" else 1
        seen = scans if len(target.groups) == groups else options.subjects
        networks += of
        steps += of * target.steps
        tiles += asked * seen * SLICES * row["tiles_a_slice"]
    return {
        "people": groups * options.subjects, "scans": scans, "networks": networks,
        "network_steps": steps, "tiles": tiles,
        "training_h": round(steps * row["step_s"] / 3600, 2),
        "segmentation_h": round(tiles * row["tile_s"] / 3600, 2),
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scales", default=",".join(SCALES))
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rows = []
    for scale in given.scales.split(","):
        rows.append({**measure(scale, given.steps), "load": round(os.getloadavg()[0], 1)})
        print(json.dumps(rows[-1]), flush=True)
    machine = {"devices": [str(d.device_kind) for d in jax.devices()], "jax": jax.__version__,
               "processors": os.cpu_count(), "platform": platform.machine()}  # fmt: skip
    if given.out:
        given.out.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
