"""Peak memory of `predict` beside the size of the scan: how much each voxel adds.

    python benchmarks/bench_memory.py --out FILE

Files of one size and of four times as many voxels are segmented whole, with the same untrained
U-Net of two regions and the same window. What counts is how far the peak of the resident memory
lies above what the process held before (the network compiled, a small scan segmented). Linux only.
"""

import argparse
import json
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from _timing import machine

from score_jax import api, checkpointing, models
from score_jax.arrays.regions import Region
from score_jax.config import ModelSpec, Preprocessing, UNetConfig
from score_jax.inference import Predictor

MIB = 2**20


def predictor(tile):
    spec = ModelSpec(
        kind="unet",
        options=UNetConfig(features=(2, 3)).arguments(),
        in_channels=1,
        channel_names=("T2w",),
        regions=(Region("cord", (1, 2), 1), Region("lesion", (2,), 2)),
        preprocessing=Preprocessing(axcodes="RAS", spacing_mm=(1.0, 1.0, 1.0)),
        tile=(tile,) * 3,
        tile_step=1.0,  # the sums are as large at any step, and this one is the quickest
    )
    return Predictor(spec, [models.parameters(checkpointing.build_model(spec))], "untrained")


def scan(folder, shape):
    """A file of int16 noise, 0.9 x 0.8 x 0.8 mm."""
    path = folder / f"{'x'.join(map(str, shape))}.nii"
    noise = np.random.default_rng(0).integers(0, 1000, shape, np.int16)
    nib.save(nib.Nifti1Image(noise, np.diag([0.9, 0.8, 0.8, 1.0])), path)
    return path


def resident(name):
    """A size in the process's status, in bytes: VmRSS now, VmHWM at most."""
    with open("/proc/self/status") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def growth(call):
    """Bytes by which the resident memory grew at most while `call` ran."""
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = resident("VmRSS")
    call()
    return resident("VmHWM") - before


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--shape", type=int, nargs=3, default=[64, 320, 320])
    parser.add_argument("--tile", type=int, default=48)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    x, y, z = arguments.shape
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = predictor(arguments.tile)

        def segment(path):
            (result,) = api.predict(path, model, out=folder / "out", crop="none")
            if isinstance(result, api.Failed):
                raise result.error

        segment(scan(folder, (arguments.tile,) * 3))
        held = resident("VmRSS")
        for shape in ((x, y, z), (x, 2 * y, 2 * z)):
            path = scan(folder, shape)
            voxels = int(np.prod(shape))
            grown = growth(lambda path=path: segment(path))
            row = {
                "shape": shape, "voxels": voxels, "growth_mib": round(grown / MIB, 1),
                "scans": round(grown / (4 * voxels), 2),
            }  # fmt: skip
            print(json.dumps(row), flush=True)
            rows.append({**row, "bytes": grown})
    small, large = rows
    result = {
        "what": "memory", "machine": machine(), "tile": arguments.tile,
        "held_before_mib": round(held / MIB, 1), "sizes": rows,
        "bytes_per_voxel": round(
            (large["bytes"] - small["bytes"]) / (large["voxels"] - small["voxels"]), 2
        ),
    }  # fmt: skip
    print(json.dumps({key: result[key] for key in ("held_before_mib", "bytes_per_voxel")}))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
