"""nnU-Net's own network in PyTorch, one timed run a request: the peer of `bench_unet.py`.

Needs torch and dynamic-network-architectures, in an environment of its own if need be. Requests
and answers are JSON, one a line; `bench_unet.py` starts this file and says what to run.
"""

import json
import resource
import sys
import time
from typing import Any

import dynamic_network_architectures
import numpy as np
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet


class Peer:
    def __init__(self, request: dict[str, Any]) -> None:
        torch.set_num_threads(request["threads"])
        torch.manual_seed(0)
        net = request["network"]
        self.model = PlainConvUNet(
            1, len(net["features"]), tuple(net["features"]), torch.nn.Conv3d,
            [tuple(k) for k in net["kernels"]], [tuple(s) for s in net["strides"]],
            tuple(net["convs_encoder"]), 2, tuple(net["convs_decoder"]), conv_bias=True,
            norm_op=torch.nn.InstanceNorm3d, norm_op_kwargs={"eps": 1e-5, "affine": True},
            nonlin=torch.nn.LeakyReLU, nonlin_kwargs={"inplace": True},
            deep_supervision=request["train"],
        )  # fmt: skip
        data = np.load(request["data"])
        self.image = torch.from_numpy(np.ascontiguousarray(np.moveaxis(data["image"], -1, 1)))
        self.mask = torch.from_numpy(np.ascontiguousarray(np.moveaxis(data["mask"], -1, 1)))
        if "weights" in request:
            np.savez(
                request["weights"], **{k: v.numpy() for k, v in self.model.state_dict().items()}
            )
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.01, 0.99, nesterov=True)
        self.call = torch.compile(self.model) if request["compile"] else self.model

    def forward(self) -> np.ndarray:
        self.model.eval()
        with torch.inference_mode():
            return self.call(self.image).numpy()

    def step(self) -> float:
        self.optimizer.zero_grad()
        loss = total_loss(self.call(self.image), self.mask)
        loss.backward()
        self.optimizer.step()
        return loss.item()


def total_loss(outputs: list[torch.Tensor], mask: torch.Tensor) -> torch.Tensor:
    """BCE + Dice (per sample and region), levels weighted 1, 1/2, ... and the last 0."""
    weights = np.array([0.5**level for level in range(len(outputs))])
    weights[-1] = 0
    total = torch.zeros(())
    for weight, logits in zip(weights / weights.sum(), outputs, strict=True):
        if not weight:
            continue
        target = torch.nn.functional.interpolate(mask, logits.shape[2:], mode="nearest-exact")
        bce = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
        share, axes = torch.sigmoid(logits), (2, 3, 4)
        both = (share * target).sum(axes)
        dice = (2 * both + 1e-5) / (share.sum(axes) + target.sum(axes) + 1e-5)
        total = total + float(weight) * (bce - dice.mean())
    return total


def main() -> None:
    peer: Peer | None = None
    for line in sys.stdin:
        request = json.loads(line)
        start, cpu = time.perf_counter(), time.process_time()
        answer: dict[str, Any] = {}
        if request["do"] == "setup":
            peer = Peer(request)
            answer["versions"] = {
                "torch": torch.__version__,
                "dynamic_network_architectures": getattr(
                    dynamic_network_architectures, "__version__", "0.4.4"
                ),
            }
        elif peer is not None and request["do"] == "forward":
            logits = peer.forward()
            if "save" in request:
                np.save(request["save"], np.moveaxis(logits, 1, -1))
        elif peer is not None:
            answer["loss"] = peer.step()
        answer["seconds"] = time.perf_counter() - start
        answer["cpu_s"] = time.process_time() - cpu
        answer["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
