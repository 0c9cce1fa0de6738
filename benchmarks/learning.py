"""Does it learn, and which parts matter? Small networks on simulated patients, minutes on a CPU.

    python benchmarks/learning.py                     # both networks against their floors
    python benchmarks/learning.py --ablation          # the U-Net without one part at a time

Prints one JSON line a run: name, Dice of each region on held-out patients, seconds. Exits with 1 if
a floor is missed. `tests/test_learning.py` runs the first form.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import score_jax as sj
from score_jax.config import preset

UNET = (
    'data.regions=["cord", "lesion"]',
    "data.validation_fraction=0.25",
    "unet.features=[8, 16, 32]",
    "sampling.patch=[32, 32, 32]",
    "steps=400",
    "validate_each=400",
)
MDGRU = (
    'data.regions=["cord", "gm"]',
    "data.validation_fraction=0.34",
    "mdgru.hidden=[8, 12, 16]",
    "mdgru.linear=[12, 16]",
    "mdgru.kernel=5",
    "mdgru.keep_rate=0.8",
    "sampling.patch=[48, 48]",
    "steps=120",
    "validate_each=120",
)
ABLATIONS = {
    "without augmentation": ("augment.enabled=false",),
    "without oversampling": ("sampling.foreground=0.0",),
    "without deep supervision": ("unet.deep_supervision=false",),
}
SCI = {
    "--subjects": 12,
    "--acquisition": "isotropic",
    "--grid": 1.0,
    "--field-of-view": "48,48,96",
    "--seed": 3,
}
AMIRA = {"--subjects": 3, "--scans": 1, "--grid": 0.6, "--raters": 0, "--seed": 3}
FLOORS = {"unet": {"cord": 0.70}, "mdgru": {"cord": 0.75, "gm": 0.35}}


def simulate(kind, options, out):
    words = [str(word) for pair in options.items() for word in pair]
    command = [sys.executable, "-m", "score_jax.cli", "simulate", kind, str(out), *words]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return out


def run(name, model, data, folder, *more):
    base = UNET if model == "unet" else MDGRU
    started = time.perf_counter()
    config = sj.load_config(preset(model), overrides=(*base, *more))
    done = sj.train(data, config, out=folder / name.replace(" ", "-"))
    found = {
        "name": name,
        "dice": {region: round(value, 4) for region, value in done.dice.items()},
        "seconds": round(time.perf_counter() - started),
    }
    print(json.dumps(found), flush=True)
    return done.dice


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ablation", action="store_true")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sci = simulate("sci", SCI, folder / "sci")
        reached = {"unet": run("unet", "unet", sci, folder)}
        if wanted.ablation:
            for name, more in ABLATIONS.items():
                run(name, "unet", sci, folder, *more)
        else:
            amira = simulate("amira", AMIRA, folder / "amira")
            reached["mdgru"] = run("mdgru", "mdgru", amira, folder)
    missed = [
        f"{model}: {region} {reached[model][region]:.3f}, floor {floor}"
        for model in reached
        for region, floor in FLOORS[model].items()
        if not reached[model][region] >= floor
    ]
    for line in missed:
        print(line, file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
