"""One scan through `score-jax predict` in a cold process: seconds, memory and Dice.

With and without the crop to the cord, and nnU-Net's own predictor with the same weights beside it.

    python benchmarks/bench_predict.py DATASET --model MODEL [--peer-python PYTHON] --out FILE

DATASET is one of `score-jax simulate` (its truth gives the Dice) or any scan files. Runs of the
programs take turns; processor seconds are user and system time of the whole process.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
from _timing import machine

HERE = Path(__file__).parent


def cold(command):
    """Run a program from start to end: wall and processor seconds, peak memory, what it printed."""
    start, load = time.perf_counter(), os.getloadavg()[0]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        nowhere = {f"nnUNet_{name}": "/nowhere" for name in ("raw", "preprocessed", "results")}
        process = subprocess.Popen(
            [str(c) for c in command], stdout=out, stderr=err, env={**os.environ, **nowhere}
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        out.seek(0)
        err.seek(0)
        if status:
            raise RuntimeError(f"{command}: status {status}\n{err.read()}")
        printed = out.read()
    return {
        "wall_s": round(wall, 3),
        "processor_s": round(used.ru_utime + used.ru_stime, 3),
        "peak_mb": round(used.ru_maxrss / 1024, 1),
        "load": round(load, 1),
    }, json.loads(printed[printed.index("{") :])


def ours(scans, model, out, *words):
    command = [sys.executable, "-m", "score_jax.cli", "predict", *scans, "--model", model]
    return cold([*command, "--out", out, "--device", "cpu", "--json", *words])


def theirs(scan, model, python, out):
    """nnU-Net's predictor, the weights of `model` handed over as arrays."""
    from score_jax import api

    network = api.load_network(model)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.npz"
        np.savez(weights, **{name: np.asarray(a) for name, a in flat(network.members[0])})
        request = {
            "scan": str(scan), "out": str(out), "weights": str(weights),
            "threads": os.cpu_count(), "options": dict(network.spec.options),
            "tile": list(network.spec.tile),
            "spacing": list(network.spec.preprocessing.spacing_mm),
            "labels": {r.name: list(r.labels) for r in network.regions},
            "order": [r.value for r in network.regions],
        }  # fmt: skip
        (Path(folder) / "request.json").write_text(json.dumps(request))
        peer = HERE / "peers" / "nnunet_predict.py"
        return cold([python, peer, Path(folder) / "request.json"])


def flat(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def dice(a, b):
    a, b = (
        np.asarray(nib.load(p).dataobj) > 0 if isinstance(p, (str, Path)) else p for p in (a, b)
    )
    total = a.sum() + b.sum()
    return 1.0 if total == 0 else round(float(2 * (a & b).sum() / total), 5)


def truths(scan):
    """Truth masks of a simulated scan, by region."""
    root = next((p for p in scan.parents if (p / "dataset_description.json").exists()), None)
    stem = scan.name.removesuffix(".nii.gz").removesuffix("_T2w")
    found = {} if root is None else {
        region: next(root.glob(f"derivatives/*truth*/**/{stem}*label-{region}*.nii.gz"), None)
        for region in ("cord", "lesion")
    }  # fmt: skip
    return {name: path for name, path in found.items() if path is not None}


def one_scan(scan, model, python, folder, repeats):
    row = {"scan": scan.name, "shape": list(nib.load(scan).shape), "programs": {}}
    programs = {"crop": ("--crop",), "whole": ("--no-crop",)}
    masks = {}
    for _ in range(repeats):
        for name, words in programs.items():
            used, said = ours([scan], model, folder / name, *words)
            (case,) = said["cases"]
            masks[name] = case["outputs"]
            used["stages"] = {k: round(v, 3) for k, v in case["seconds"].items()}
            used["crop"] = case["crop"]
            row["programs"].setdefault(name, []).append(used)
        if python:
            used, said = theirs(scan, model, python, folder / "nnunet.nii.gz")
            row["programs"].setdefault("nnunet", []).append({**used, **said})
    row["dice"] = {
        "crop against whole": {
            region: dice(masks["crop"][region], masks["whole"][region])
            for region in masks["crop"] if region != "labels"
        }
    }  # fmt: skip
    for region, path in truths(scan).items():
        if region in masks["crop"]:
            row["dice"][f"{region} against truth"] = {
                name: dice(masks[name][region], path) for name in masks
            }
    if python:
        canonical = nib.load(folder / "nnunet.nii.gz")
        mask = nib.as_closest_canonical(nib.load(masks["whole"]["cord"]))
        row["dice"]["whole against nnU-Net"] = {
            "cord": dice(np.asarray(canonical.dataobj) > 0, np.asarray(mask.dataobj) > 0)
        }
    return row


def cohort(scans, model, folder, count):
    """One process over `count` scans (copies of what there is): how busy the network is."""
    links = folder / "cohort"
    links.mkdir()
    for number in range(count):
        (links / f"scan{number:02d}.nii.gz").symlink_to(scans[number % len(scans)].resolve())
    code = (
        "import sys,time,json,glob;from score_jax import api;from score_jax.cli import _device;"
        "_device.use('cpu');m=api.load_models([sys.argv[1]]);m.compile();"
        "f=sorted(glob.glob(sys.argv[2]+'/*.nii.gz'));rows=[];\n"
        "for at_once in (1,3,1,3):\n"
        " api.prediction.AT_ONCE=at_once;s=time.perf_counter();p=time.process_time()\n"
        " r=api.predict(f,m,out=sys.argv[3],crop='none');w=time.perf_counter()-s\n"
        " n=sum(x.seconds['network'] for x in r)\n"
        " rows.append({'at_once':at_once,'wall_s':w,'processor_s':time.process_time()-p,"
        "'network_s':n,'busy':n/w})\n"
        "print(json.dumps({'rows':rows}))"
    )
    code = code.replace("import sys", "import score_jax.api.prediction;import sys", 1)
    used, said = cold([sys.executable, "-c", code, model, links, folder / "cohort-out"])
    return {"scans": count, "load": used["load"], **said}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("scans", nargs="+", type=Path, help="a simulated dataset, or scan files")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--peer-python", help="an interpreter with torch and nnunetv2")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--most", type=int, default=4, help="scans")
    parser.add_argument("--cohort", nargs="*", type=Path, default=[], help="small scans, streamed")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    scans = [
        scan
        for path in arguments.scans
        for scan in (sorted(path.glob("sub-*/**/anat/*.nii.gz")) if path.is_dir() else [path])
    ][: arguments.most]
    result = {"what": "predict", "machine": machine(), "rows": []}
    with tempfile.TemporaryDirectory() as folder:
        for scan in scans:
            row = one_scan(
                scan, arguments.model, arguments.peer_python, Path(folder), arguments.repeats
            )
            result["rows"].append(row)
            print(json.dumps(row, indent=1))
        used, said = ours([scans[0], scans[-1]], arguments.model, Path(folder) / "two", "--crop")
        second = said["cases"][-1]["seconds"]
        network = second["network"] + second.get("locate", 0)
        result["warm second scan"] = {
            "load": used["load"], "stages": second, "beside_network_s": second["total"] - network
        }  # fmt: skip
        if arguments.cohort:
            result["cohort"] = cohort(arguments.cohort, arguments.model, Path(folder), 20)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({k: v for k, v in result.items() if k != "rows"}, indent=1))


if __name__ == "__main__":
    main()
