"""Files and circumstances that go wrong: no traceback, no half-written file, no hang.

    python benchmarks/robustness.py --out benchmarks/results/robustness.json    # some minutes

Mutated headers and gzip streams are read in this process (10,000 of them by default); the rest are
`score-jax predict` processes with the shipped model on a small scan: odd paths, folders that may
not be written, a full disk, two runs into one folder, Ctrl-C at random moments and while the
network is compiled, links in a circle, a file larger than memory. Exits with 1 if anything but a
result or one line of error came of it. `--only-aimed` sends only the interrupts aimed at the
compilation and leaves all other rows of the file as they are. Linux only; as root the folder that
may not be written is left out, and said so.
"""

import argparse
import gzip
import json
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np

from score_jax.benchmark import running
from score_jax.errors import ScoreError
from score_jax.imaging import load

PREDICT = [sys.executable, "-m", "score_jax.cli", "predict"]
LIMIT_S = 300  # a run that takes longer hangs
HEADER = 352
NEW_FILES = ("_mask.nii.gz", "_mask.json", "_dseg.nii.gz", "_dseg.json")


# ---------------------------------------------------------------- mutated files, in this process


def originals() -> list[bytes]:
    """Small whole images: NIfTI-1 and 2, scaled and not, with channels."""
    values = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    affine = np.diag([0.5, 0.75, 3, 1])
    scaled = nib.Nifti1Image(values, affine)
    scaled.header.set_slope_inter(0.5, 1.0)
    channels = nib.Nifti1Image(values.reshape(4, 5, 3, 2).astype(np.float32), affine)
    images = [nib.Nifti1Image(values, affine), nib.Nifti2Image(values, affine), scaled, channels]
    return [image.to_bytes() for image in images]


def mutate(whole: bytes, rng: random.Random) -> tuple[str, bytes]:
    """A kind of damage, and the damaged bytes."""
    kind = rng.choice(("bits", "bytes", "fields", "cut", "stretched", "spliced"))
    data = bytearray(whole)
    if kind == "bits":
        for _ in range(rng.randint(1, 6)):
            data[rng.randrange(HEADER)] ^= 1 << rng.randrange(8)
    elif kind == "bytes":
        for _ in range(rng.randint(1, 40)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    elif kind == "fields":  # sizes, types, offsets and geometry at the ends of their ranges
        at = rng.choice((0, 40, 42, 44, 46, 70, 72, 76, 80, 84, 108, 112, 116, 252, 254, 280, 296))
        odd = (0, 1, -1, 32767, -32768, 65535, 2**31 - 1, -(2**31))
        value = rng.choice([*odd, float("nan"), float("inf"), 1e38])
        if isinstance(value, float):
            data[at : at + 4] = struct.pack("<f", value)
        else:
            data[at : at + 4] = struct.pack("<i", value)
    elif kind == "cut":
        del data[rng.randrange(len(data)) :]
    elif kind == "stretched":
        data += bytes(rng.randrange(256) for _ in range(rng.randint(1, 3000)))
    else:
        start = rng.randrange(len(data))
        data[start:start] = bytes(rng.randint(1, 30))
    return kind, bytes(data)


def compressed(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """The data as a gzip stream, which may be damaged too."""
    packed = bytearray(gzip.compress(data, mtime=0))
    kind = rng.choice(("whole", "cut", "bytes", "twice", "tail"))
    if kind == "cut":
        del packed[rng.randrange(len(packed)) :]
    elif kind == "bytes":
        for _ in range(rng.randint(1, 5)):
            packed[rng.randrange(len(packed))] = rng.randrange(256)
    elif kind == "twice":
        packed += bytes(packed)
    elif kind == "tail":
        packed += b"\0garbage"
    return kind, bytes(packed)


def bombs(folder: Path) -> list[Path]:
    """Small files that announce or unpack to far more than memory holds."""
    whole = originals()[0]
    paths = []
    for name, dims in (
        ("cube", (3, 30000, 30000, 30000, 1, 1, 1, 1)),
        ("line", (3, 32767, 1, 1, 1, 1, 1, 1)),
        ("series", (4, 4, 5, 6, 32767, 1, 1, 1)),
    ):
        data = bytearray(whole)
        data[40:56] = struct.pack("<8h", *dims)
        for suffix, stored in ((".nii", bytes(data)), (".nii.gz", gzip.compress(bytes(data)))):
            paths.append(folder / f"{name}{suffix}")
            paths[-1].write_bytes(stored)
    zeros = folder / "zeros.nii.gz"  # 2 GB of zeros behind a good header
    with gzip.open(zeros, "wb", compresslevel=1) as file:
        file.write(whole)
        for _ in range(2048):
            file.write(bytes(2**20))
    return [*paths, zeros]


def campaign(count: int, seed: int, folder: Path) -> dict[str, object]:
    """Read `count` damaged files; what came of them."""
    rng, sources = random.Random(seed), originals()
    outcomes: dict[str, dict[str, int]] = {}
    wrong, slowest = [], 0.0

    def read(path: Path, kind: str) -> None:
        nonlocal slowest
        started = time.perf_counter()
        try:
            load(path)
            outcome = "read"
        except ScoreError as error:
            text = str(error)
            outcome = "refused" if str(path) in text and "\n" not in text else "unnamed"
        except BaseException as error:  # whatever it is, it is the finding
            outcome = type(error).__name__
        slowest = max(slowest, time.perf_counter() - started)
        row = outcomes.setdefault(kind, {})
        row[outcome] = row.get(outcome, 0) + 1
        if outcome not in {"read", "refused"}:
            keep = folder / f"wrong-{len(wrong)}-{path.name}"
            keep.write_bytes(path.read_bytes())
            wrong.append({"kind": kind, "outcome": outcome, "kept": keep.name})

    for _ in range(count):
        kind, data = mutate(rng.choice(sources), rng)
        path = folder / "a.nii"
        if rng.random() < 0.5:
            path = folder / "a.nii.gz"
            packing, data = compressed(data, rng)
            kind = f"{kind}, gzip {packing}"
        path.write_bytes(data)
        read(path, kind)
    for path in bombs(folder):
        read(path, "bomb")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "files": count, "outcomes": outcomes, "wrong": wrong, "slowest_s": round(slowest, 3),
        "peak_memory_mb": round(peak),
    }  # fmt: skip


# ---------------------------------------------------------------- processes


def scan(path: Path, seed: int = 0) -> Path:
    """A small scan with something to segment: noise, a bright disc in each slice."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(48), np.arange(40), indexing="ij")
    disc = np.hypot(x - 24, y - 20) < 8
    image = rng.normal(100, 10, (48, 40, 4)) + 200 * disc[..., None]
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(image.astype(np.int16), np.diag([0.5, 0.5, 5, 1])), path)
    return path


def leftovers(folder: Path) -> list[str]:
    """Files in a folder of results that are not whole results."""
    odd = []
    for path in folder.rglob("*"):
        if path.is_dir():
            continue
        if not path.name.endswith(NEW_FILES):
            odd.append(path.name)
        elif path.name.endswith(".nii.gz"):
            try:
                load(path)
            except ScoreError:
                odd.append(path.name)
        else:
            json.loads(path.read_text())
    return odd


def run(
    arguments: list[object],
    *,
    stop_after: float | None = None,
    line: str = "",
    limit: int | None = None,
):
    """`score-jax predict`; status (None: it hung), output, seconds.

    It is stopped `stop_after` seconds after it began, or after it wrote a line that begins so.
    """

    def limited() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    started = time.perf_counter()
    process = subprocess.Popen(
        [*PREDICT, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, preexec_fn=limited,
    )  # fmt: skip
    seen = ""
    try:
        while line and process.stdout is not None:
            seen += (text := process.stdout.readline())
            if not text or text.startswith(line):
                break
        if stop_after is not None:
            try:
                process.wait(stop_after)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
        text, _ = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None, "", time.perf_counter() - started
    return process.returncode, seen + text, time.perf_counter() - started


def judged(name: str, expected: set[int], result, out: Path | None = None) -> dict[str, object]:
    """One row: whether the run ended as expected, in words, with nothing half-written."""
    status, text, seconds = result
    odd = [] if out is None or not out.exists() else leftovers(out)
    good = status in expected and "Traceback" not in text and not odd
    last = text.strip().splitlines()[-1] if text.strip() else ""
    return {
        "name": name, "good": good, "status": status, "seconds": round(seconds, 1),
        "leftovers": odd, "last_line": last[-200:],
    }  # fmt: skip


def processes(folder: Path, stops: int, seed: int) -> list[dict[str, object]]:
    """The runs named in the module's docstring."""
    rng, rows = random.Random(seed), []

    odd = folder / "a b" / "Köpfe & Hälse '1'"
    image = scan(odd / "Größe 5 µm (1).nii.gz")
    rows.append(judged("spaces and umlauts", {0}, run([image, "--out", odd / "ø"]), odd / "ø"))

    plain = scan(folder / "scans" / "scan.nii.gz")
    locked = folder / "locked"
    locked.mkdir(mode=0o500)
    if os.access(locked, os.W_OK):
        rows.append({"name": "folder that may not be written", "good": None, "why": "root"})
    else:
        rows.append(judged("folder that may not be written", {2}, run([plain, "--out", locked])))
    rows.append(
        judged("file where the folder should be", {2}, run([plain, "--out", plain / "below"]))
    )
    full = folder / "full"
    rows.append(judged("full disk", {2}, run([plain, "--out", full], limit=100), full))

    both = folder / "both"
    first = subprocess.Popen(
        [*PREDICT, str(plain), "--out", str(both)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    second = run([plain, "--out", both])
    first.communicate(timeout=LIMIT_S)
    rows.append(judged("two runs into one folder", {0}, second, both))
    rows[-1]["good"] = bool(rows[-1]["good"]) and first.returncode == 0

    circle = folder / "circle"
    scan(circle / "one.nii.gz")
    (circle / "again").symlink_to(circle, target_is_directory=True)
    (circle / "self.nii.gz").symlink_to(circle / "self.nii.gz")
    found = run([circle, "--out", folder / "circled"])
    rows.append(judged("links in a circle", {0, 2}, found, folder / "circled"))

    huge = folder / "huge.nii"
    header = nib.Nifti1Header()
    header.set_data_dtype(np.float32)
    header.set_data_shape((4096, 4096, 2048))  # 137 GB, none of them on disk
    with huge.open("wb") as file:
        file.write(header.binaryblock + bytes(4))
        file.truncate(352 + 4096 * 4096 * 2048 * 4)
    rows.append(judged("volume larger than memory", {2}, run([huge, "--out", folder / "big"])))

    whole = run([plain, "--out", folder / "whole"])
    for number in range(stops):
        out = folder / f"stopped-{number}"
        moment = rng.uniform(0.0, 1.1 * whole[2])
        result = run([plain, "--out", out], stop_after=moment)
        # before Python has begun it dies of the signal itself; at the end it may be done
        row = judged(f"Ctrl-C after {moment:.2f} s", {0, 130, -signal.SIGINT}, result, out)
        rows.append(row)
    return rows


def aimed(folder: Path, stops: int, seed: int) -> list[dict[str, object]]:
    """Ctrl-C `stops` times after ``Model ...`` was printed, mostly while the network compiles."""
    rng, rows = random.Random(seed), []
    plain = scan(folder / "scans" / "scan.nii.gz")
    whole = run([plain, "--out", folder / "whole"])
    for number in range(stops):
        out = folder / f"aimed-{number}"
        moment = rng.uniform(0.0, 0.25 * whole[2])  # of compiling and the first tiles
        result = run([plain, "--out", out], stop_after=moment, line="Model ")
        # the signal itself may end it only where all results are written
        done = {-signal.SIGINT} if (out / "scan_dseg.json").exists() else set[int]()
        what = f"Ctrl-C {moment:.2f} s after the model was read"
        rows.append(judged(what, {0, 130} | done, result, out))
    return rows


def shown(rows: list[dict[str, object]], folder: str) -> list[dict[str, object]]:
    """`rows`, printed, without the name of the temporary folder."""
    for row in rows:
        row["last_line"] = str(row.get("last_line", "")).replace(folder, "")
        print(json.dumps(row, ensure_ascii=False), flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--stops", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only-aimed", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    result: dict[str, object] = {"what": "robustness"}
    wrong, rows = [], []
    if options.only_aimed and options.out and options.out.exists():
        result = json.loads(options.out.read_text())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not options.only_aimed:
            (folder / "files").mkdir()
            files = campaign(options.files, options.seed, folder / "files")
            print(json.dumps(files, indent=1))
            wrong = files["wrong"]
            rows = shown(processes(folder, options.stops, options.seed), name)
            result |= {"machine": running.machine(), "seed": options.seed}
            result |= {"files": files, "processes": rows}
        stopped = shown(aimed(folder, options.stops, options.seed), name)
        result["aimed"] = {"machine": running.machine(), "seed": options.seed, "rows": stopped}
    if options.out:
        options.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return int(bool(wrong) or any(row["good"] is False for row in [*rows, *stopped]))


if __name__ == "__main__":
    sys.exit(main())
