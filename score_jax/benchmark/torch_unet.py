"""nnU-Net's PlainConvUNet under PyTorch; `peer.py` starts this file with an interpreter of its own.

As nnU-Net runs it: on an accelerator with ``torch.compile`` and, for bfloat16, autocast and
channels-last memory; on a CPU eager, or compiled if asked. A training step is the mean
cross-entropy's gradient and one step of SGD with Nesterov momentum (Adadelta, which ours takes,
costs torch a pass over the weights more).
"""

import json
import sys
import time
from typing import Any

import dynamic_network_architectures as networks  # pyright: ignore[reportMissingImports]
import torch  # pyright: ignore[reportMissingImports]
from dynamic_network_architectures.architectures.unet import (  # pyright: ignore[reportMissingImports]
    PlainConvUNet,
)


class Run:
    """One network with its input; a call is a forward pass or a training step, to its end."""

    def __init__(self, request: dict[str, Any]) -> None:
        options = request["options"]
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.half = request["precision"] == "bfloat16"
        self.training = request["training"]
        layout = torch.channels_last_3d if self.device.type == "cuda" else torch.contiguous_format
        model = PlainConvUNet(
            request["shape"][1], len(options["features"]), tuple(options["features"]),
            torch.nn.Conv3d, [tuple(k) for k in options["kernels"]],
            [tuple(s) for s in options["strides"]], tuple(options["convs_encoder"]),
            request["classes"], tuple(options["convs_decoder"]), conv_bias=True,
            norm_op=torch.nn.InstanceNorm3d, norm_op_kwargs={"eps": 1e-5, "affine": True},
            nonlin=torch.nn.LeakyReLU, nonlin_kwargs={"inplace": True}, deep_supervision=False,
        )  # fmt: skip
        model = model.to(self.device, memory_format=layout)
        self.parameters = list(model.parameters())
        self.optimizer = torch.optim.SGD(self.parameters, 0.01, 0.99, nesterov=True)
        compiled = request["compile"] or self.device.type == "cuda"
        self.model = torch.compile(model) if compiled else model
        self.model.train(self.training)
        x = torch.randn(request["shape"], device=self.device)
        self.x = x.to(memory_format=layout)
        shape = (request["shape"][0], *request["shape"][2:])
        self.labels = torch.randint(request["classes"], shape, device=self.device)

    def __call__(self) -> None:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            if not self.training:
                with torch.inference_mode():
                    self.model(self.x)
            else:
                self.optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(self.model(self.x), self.labels)
                loss.backward()
                self.optimizer.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def main() -> None:
    """Answer on standard output what is asked on standard input, until that closes."""
    answers, sys.stdout = sys.stdout, sys.stderr
    run = None
    for line in sys.stdin:
        request = json.loads(line)
        if not request:
            name = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
            answer: dict[str, Any] = {
                "torch": torch.__version__,
                "dynamic_network_architectures": getattr(networks, "__version__", "unknown"),
                "device": name,
                "threads": torch.get_num_threads(),
            }
        else:
            if "options" in request:
                run = None  # its memory goes before the next one's comes
                run = Run(request)
            assert run is not None
            start, used = time.perf_counter(), time.process_time()
            run()
            answer = {
                "seconds": time.perf_counter() - start,
                "processor_seconds": time.process_time() - used,
            }
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
