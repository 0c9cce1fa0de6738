"""What the shipped models owe to what: contrast, artefacts, dimensions, network. Some 30 minutes.

    python benchmarks/ablation.py --json F [--real FOLDER]

Every network starts from nothing, with one seed, and learns the cord (and grey matter, where it
sees slices) from the phantom; one thing differs from the first row at a time. Each is judged on
simulated scans of T2*w and of random contrast that served for nothing else, and with --real (a
folder of `spinalcordtoolbox/sct_testing_data`) on real ones. Prints one JSON line a run: mean Dice
of each region on each cohort, weights, steps, processor seconds. A network for "equal time"
has as many steps as fit into the processor seconds of the row it is compared with.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import nibabel as nib
import numpy as np

import score_jax as sj
from score_jax.config import preset
from score_jax.metrics import dice

SLICES = (  # those of the shipped `gm`, smaller
    "slice_axis=2",
    "weights_ema=0.98",
    "data.simulated=1.0",
    "data.validation_fraction=0.5",
    "data.validation_images=1",
    "preprocessing.spacing_mm=[0.5, 0.5, 0.0]",
    "optimizer.warmup_steps=20",
    "augment.enabled=false",
    'data.regions=["cord", "gm"]',
)
UNET = (
    *SLICES,
    "unet.ndim=2",
    "unet.features=[12, 24, 48, 96]",
    "sampling.patch=[80, 80]",
    "sampling.batch=8",
    "loss.kind=dice_bce",
    "optimizer.learning_rate=5e-3",
    "augment.mirror_axes=[0]",
)
MDGRU = (
    *SLICES,
    "mdgru.hidden=[12, 24, 48]",
    "mdgru.linear=[20, 32]",
    "mdgru.kernel=5",
    "mdgru.keep_rate=0.9",
    "sampling.patch=[80, 80]",
    "sampling.batch=4",
    "loss.kind=dice_bce",
    "optimizer.learning_rate=5e-3",
)
VOLUMES = (
    "weights_ema=0.98",
    "data.simulated=1.0",
    "data.validation_fraction=0.5",
    "data.validation_images=1",
    "preprocessing.spacing_mm=[0.75, 0.75, 2.0]",
    "unet.features=[8, 16, 32, 64]",
    "sampling.patch=[64, 64, 32]",
    "sampling.batch=2",
    "optimizer.warmup_steps=20",
    "augment.enabled=false",
    'data.regions=["cord"]',
)
# name, preset, settings, steps (None: as many as fit into the seconds of the row named last)
ROWS = (
    ("2-D U-Net, mixed contrasts, artefacts", "unet", UNET, 240, ""),
    ("fixed contrast (T2*w)", "unet",
     (*UNET, "data.simulated_contrast=T2starw", "data.simulated_strength=0.0"), 240, ""),
    ("T2*w, varied", "unet", (*UNET, "data.simulated_contrast=T2starw"), 240, ""),
    ("without artefacts", "unet", (*UNET, "data.simulated_artefacts=false"), 240, ""),
    ("MDGRU, as many steps", "mdgru", MDGRU, 240, ""),
    ("2-D U-Net, time of the MDGRU", "unet", UNET, None, "MDGRU, as many steps"),
    ("3-D U-Net, time of the MDGRU", "unet", VOLUMES, None, "MDGRU, as many steps"),
)  # fmt: skip
SHORT = 8  # steps of the trial that tells how long one takes
AXIAL = {
    "--subjects": 4,
    "--scans": 1,
    "--acquisition": "axial",
    "--grid": 0.5,
    "--thickness": 5,
    "--field-of-view": "60,60,60",
    "--healthy": 0.5,
}
COHORTS = {
    "T2*w": {**AXIAL, "--contrast": "T2starw", "--seed": 551},
    "random contrast": {**AXIAL, "--contrast": "random", "--seed": 553},
}
REAL = {  # image: truths
    "t2s/t2s.nii.gz": {"cord": "t2s/t2s_seg.nii.gz", "gm": "t2s/t2s_gmseg_manual.nii.gz"},
    "mt/mt1.nii.gz": {"cord": "mt/mt1_seg.nii.gz", "gm": "mt/mt1_gmseg_goldstandard.nii.gz"},
    "t2/t2.nii.gz": {"cord": "t2/t2_seg-manual.nii.gz"},
    "t1/t1w.nii.gz": {"cord": "t1/t1w_seg-manual.nii.gz"},
}


def simulate(options, out):
    words = [str(word) for pair in options.items() for word in pair]
    command = [sys.executable, "-m", "score_jax.cli", "simulate", "sci", str(out), *words]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return out


def train(model, settings, steps, data, out):
    """The run folder and the processor seconds of a training from nothing."""
    more = (f"steps={steps}", f"validate_each={steps}", "seed=7")
    config = sj.load_config(preset(model), overrides=(*settings, *more))
    started = time.process_time()
    sj.train(data, config, out=out, prepared=out.parent / f"prepared {out.name}")
    return out, time.process_time() - started


def steps_in(seconds, model, settings, data, folder):
    """How many steps fit, by short trainings; what they have in common is no step's.

    The first of them fills the caches of compiled programs and does not count.
    """
    taken = [
        train(model, settings, steps, data, folder / f"trial {steps} {time.time_ns()}")[1]
        for steps in (SHORT, SHORT, 3 * SHORT)
    ][1:]
    each = (taken[1] - taken[0]) / (2 * SHORT)
    return max(SHORT, round(SHORT + (seconds - taken[0]) / each))


def mask(path):
    return np.asarray(nib.load(path).dataobj) > 0.5


def cases(cohorts, real):
    """(cohort, image, truths by region)"""
    for name, root in cohorts.items():
        for image in sorted(root.glob("sub-*/ses-*/anat/*.nii.gz")):
            scan = image.name.removesuffix(".nii.gz").rsplit("_", 1)[0]
            at = root / "derivatives" / "truth" / image.parent.relative_to(root)
            yield (
                name,
                image,
                {region: at / f"{scan}_label-{region}_mask.nii.gz" for region in ("cord", "gm")},
            )
    for image, truths in REAL.items() if real else ():
        yield (
            f"real {image.split('/')[0]}",
            real / image,
            {region: real / path for region, path in truths.items()},
        )


def judge(run, cohorts, real):
    model, found = sj.load_model(run), {}
    for cohort, image, truths in cases(cohorts, real):
        masks = model.predict(image).masks
        for region, path in truths.items():
            if region in masks:
                found.setdefault(cohort, {}).setdefault(region, []).append(
                    float(dice(masks[region], mask(path)))
                )
    return {
        cohort: {region: round(float(np.nanmean(values)), 3) for region, values in row.items()}
        for cohort, row in found.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, help="a folder of sct_testing_data")
    parser.add_argument("--json", type=Path, help="results; rows in it are not run again")
    wanted = parser.parse_args()
    kept = wanted.json is not None and wanted.json.is_file()
    rows = json.loads(wanted.json.read_text())["runs"] if kept else []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        cohorts = {name: simulate(how, folder / name[:3]) for name, how in COHORTS.items()}
        data = simulate({**AXIAL, "--contrast": "T2starw", "--seed": 557}, folder / "data")
        for name, model, settings, steps, like in ROWS:
            seconds = {row["name"]: row["core_seconds"] for row in rows}
            if name in seconds:
                continue
            count = steps or steps_in(seconds[like], model, settings, data, folder)
            run, taken = train(model, settings, count, data, folder / f"run {len(rows)}")
            members = sj.load_model(run).members
            weights = sum(np.size(leaf) for leaf in jax.tree.leaves(members))
            rows.append(
                {
                    "name": name,
                    "weights": weights,
                    "steps": count,
                    "core_seconds": round(taken),
                    "dice": judge(run, cohorts, wanted.real),
                }
            )
            print(json.dumps(rows[-1]), flush=True)
            if wanted.json:
                about = {
                    "command": " ".join(["python", "benchmarks/ablation.py", *sys.argv[1:]]),
                    "date": datetime.date.today().isoformat(),
                    "version": sj.__version__,
                    "cores": os.cpu_count(),
                    "runs": rows,
                }
                wanted.json.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
