"""Time and memory of the U-Net on a CPU, beside nnU-Net's own network in PyTorch.

    python benchmarks/bench_unet.py [--network sagittal] [--peer-python PYTHON] [--json FILE]

Both sides are processes of their own with the same weights, input and number of threads; their
runs take turns, and medians are reported, of processor time too: other work on the machine
hardly changes that. ``ratio`` is the peer's time over ours: above 1, ours is faster. ``floor_s`` is
the operations of the convolutions over the rate of a large matrix product, measured in the same
run. Networks are those nnU-Net's planner gives for sagittal scans of 0.5 x 0.5 x 3.3 mm
(14 x 384 x 320) and isotropic ones of 0.87 mm (48 x 256 x 192).
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
NETWORKS: dict[str, dict[str, Any]] = {
    "sagittal": {
        "features": [32, 64, 128, 256, 320, 320, 320],
        "kernels": [[1, 3, 3]] * 2 + [[3, 3, 3]] * 5,
        "strides": [[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 2]] + [[1, 2, 2]] * 3,
        "convs_encoder": [2] * 7,
        "convs_decoder": [2] * 6,
        "patch": [14, 384, 320],
    },
    "isotropic": {
        "features": [32, 64, 128, 256, 320, 320],
        "kernels": [[3, 3, 3]] * 6,
        "strides": [[1, 1, 1]] + [[2, 2, 2]] * 3 + [[1, 2, 2]] * 2,
        "convs_encoder": [2] * 6,
        "convs_decoder": [2] * 5,
        "patch": [48, 256, 192],
    },
}


class Ours:
    """Our network, with the peer's weights; every call is one timed run."""

    def __init__(self, request: dict[str, Any]) -> None:
        import jax
        import optax
        from flax import nnx

        from score_jax import models
        from score_jax.config import LossConfig
        from score_jax.interop.nnunet_weights import network
        from score_jax.models import convolution, onednn
        from score_jax.training.step import total_loss

        self.jax = jax
        net = {k: v for k, v in request["network"].items() if k != "patch"}
        data = np.load(request["data"])
        self.image, mask = data["image"], data["mask"]
        with np.load(request["weights"]) as stored:
            model = network(dict(stored), 1, 2, net, "peer")
        model.deep_supervision = request["train"]
        model.remat = request["remat"]
        apply, self.params = models.functional(model), models.parameters(model)
        del model, nnx
        optimizer = optax.sgd(0.01, 0.99, nesterov=True)
        loss = LossConfig(smooth=1e-5, batch_dice=False)

        def step(params: Any, memory: Any, image: Any) -> Any:
            value, gradient = jax.value_and_grad(lambda p: total_loss(apply(p, image), mask, loss))(
                params
            )
            updates, memory = optimizer.update(gradient, memory, params)
            return optax.apply_updates(params, updates), memory, value

        start = time.perf_counter()
        with convolution.form(request["form"]) if request["form"] else nullcontext():
            if request["train"]:
                self.memory = optimizer.init(self.params)
                lowered = jax.jit(step, donate_argnums=(0, 1)).lower(
                    self.params, self.memory, self.image
                )
            else:
                lowered = jax.jit(apply).lower(self.params, self.image)
            self.compiled = onednn.compiled(lowered)
        self.compile_s = time.perf_counter() - start

    def forward(self) -> np.ndarray:
        return np.asarray(self.compiled(self.params, self.image))

    def step(self) -> float:
        self.params, self.memory, value = self.compiled(self.params, self.memory, self.image)
        return float(value)


def serve() -> None:
    ours: Ours | None = None
    for line in sys.stdin:
        request = json.loads(line)
        start, cpu = time.perf_counter(), time.process_time()
        answer: dict[str, Any] = {}
        if request["do"] == "setup":
            ours = Ours(request)
            import jaxlib

            answer["compile_s"] = ours.compile_s
            answer["versions"] = {"jax": ours.jax.__version__, "jaxlib": jaxlib.__version__}
        elif request["do"] == "rate":
            answer["gflops"] = matrix_rate()
        elif ours is not None and request["do"] == "forward":
            logits = ours.forward()
            if "save" in request:
                np.save(request["save"], logits)
        elif ours is not None:
            answer["loss"] = ours.step()
        answer["seconds"] = time.perf_counter() - start
        answer["cpu_s"] = time.process_time() - cpu
        answer["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(answer), flush=True)


def matrix_rate(size: int = 1536) -> float:
    """GFLOP/s of a float32 matrix product."""
    import jax

    a = jax.random.normal(jax.random.key(0), (size, size))
    product = jax.jit(lambda a: a @ a)
    product(a).block_until_ready()
    start = time.perf_counter()
    for _ in range(4):
        product(a).block_until_ready()
    return 4 * 2 * size**3 / (time.perf_counter() - start) / 1e9


def convolution_flops(net: dict[str, Any], batch: int) -> float:
    """Operations of one forward pass in convolutions, up-sampling and the last head."""
    total, size, sizes, channels = 0.0, np.array(net["patch"]), [], 1
    for width, kernel, stride, count in zip(
        net["features"], net["kernels"], net["strides"], net["convs_encoder"], strict=True
    ):
        size = size // stride
        sizes.append(size)
        for _ in range(count):
            total += 2 * np.prod(size) * np.prod(kernel) * channels * width
            channels = width
    for level in range(len(sizes) - 2, -1, -1):
        width, below = net["features"][level], net["features"][level + 1]
        voxels = np.prod(sizes[level])
        total += 2 * voxels * below * width
        count = net["convs_decoder"][len(sizes) - 2 - level]
        taps = np.prod(net["kernels"][level])
        total += 2 * voxels * taps * width * width * (2 + count - 1)
    return float(batch * (total + 2 * np.prod(sizes[0]) * net["features"][0] * 2))


class Worker:
    """A process that answers one line of JSON with another."""

    def __init__(self, *command: str, threads: int) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(map(str, self.process.args))}: ended, see its message")
        return json.loads(line)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *error: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def compare(options: argparse.Namespace, folder: Path, *, train: bool) -> dict[str, Any]:
    """One comparison, forward or training step."""
    net = NETWORKS[options.network] | ({"patch": options.patch} if options.patch else {})
    rng = np.random.default_rng(0)
    shape = (options.batch, *net["patch"], 1)
    image = rng.normal(size=shape).astype(np.float32)
    mask = (rng.uniform(size=(*shape[:-1], 2)) < 0.05).astype(np.float32)
    np.savez(folder / "data.npz", image=image, mask=mask)
    common = {
        "do": "setup", "network": net, "train": train, "threads": options.threads,
        "data": str(folder / "data.npz"), "weights": str(folder / "weights.npz"),
        "compile": options.torch_compile, "form": options.form, "remat": options.remat,
    }  # fmt: skip
    me = [sys.executable, __file__, "--serve"]
    peer_file = str(HERE / "peers/unet_torch.py")
    threads = options.threads
    with (
        Worker(options.peer_python, peer_file, threads=threads) as peer,
        Worker(*me, threads=threads) as ours,
    ):
        versions = peer.ask(**common)["versions"]
        setup = ours.ask(**common)
        do = "step" if train else "forward"
        # the first run of each is a warm-up, and its results are compared
        theirs = peer.ask(do=do, save=str(folder / "peer.npy"))
        mine = ours.ask(do=do, save=str(folder / "ours.npy"))
        if train:
            difference = abs(mine["loss"] - theirs["loss"])
        else:
            logits = [np.load(folder / name) for name in ("peer.npy", "ours.npy")]
            difference = float(np.abs(logits[0] - logits[1]).max())
        load, rates = [os.getloadavg()[0]], []
        times = {"peer": [], "ours": []}
        cpu = {"peer": [], "ours": []}
        for _ in range(options.repeats):
            theirs, mine = peer.ask(do=do), ours.ask(do=do)
            rates.append(ours.ask(do="rate")["gflops"])
            for side, answer in (("peer", theirs), ("ours", mine)):
                times[side].append(answer["seconds"])
                cpu[side].append(answer["cpu_s"])
            load.append(os.getloadavg()[0])
    flops = convolution_flops(net, options.batch) * (3 if train else 1)
    ours_s, peer_s = statistics.median(times["ours"]), statistics.median(times["peer"])
    ratios = [p / o for p, o in zip(times["peer"], times["ours"], strict=True)]
    return {
        "name": f"unet {options.network} {'training step' if train else 'forward'}"
        + (" (torch.compile)" if options.torch_compile else ""),
        "patch": net["patch"], "batch": options.batch, "threads": options.threads,
        "ours_s": ours_s, "peer_s": peer_s, "ratio": peer_s / ours_s,
        "paired_ratio": statistics.median(ratios), "ours_all_s": times["ours"],
        "peer_all_s": times["peer"], "ours_cpu_s": statistics.median(cpu["ours"]),
        "peer_cpu_s": statistics.median(cpu["peer"]), "gflop": flops / 1e9,
        "matrix_gflops": statistics.median(rates),
        "floor_s": flops / 1e9 / statistics.median(rates),
        "compile_s": setup["compile_s"], "form": options.form or "chosen",
        "remat": options.remat, "ours_peak_mib": mine["peak_mib"],
        "peer_peak_mib": theirs["peak_mib"], "difference": difference,
        "load_average": [min(load), max(load)], "versions": setup["versions"] | versions,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--network", choices=NETWORKS, default="sagittal")
    parser.add_argument("--patch", type=int, nargs=3, help="another window than the planner's")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--what", choices=["forward", "train", "both"], default="both")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--form", help="form of our convolutions; by default the one chosen")
    parser.add_argument("--remat", action="store_true", help="compute stages again when training")
    parser.add_argument("--torch-compile", action="store_true", help="the peer by torch.compile")
    parser.add_argument("--peer-python", default=sys.executable, help="Python that has torch")
    parser.add_argument("--json", type=Path, help="add the results to this file")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    for train in {"forward": [False], "train": [True], "both": [False, True]}[options.what]:
        with tempfile.TemporaryDirectory() as folder:
            result = compare(options, Path(folder), train=train)
        print(json.dumps(result), flush=True)
        if options.json:
            known = json.loads(options.json.read_text()) if options.json.exists() else []
            options.json.write_text(json.dumps([*known, result], indent=1) + "\n")


if __name__ == "__main__":
    main()
