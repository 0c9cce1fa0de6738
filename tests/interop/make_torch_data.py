"""Writes tests/interop/data/torch_*: checkpoints by torch 2.13.0 (CPU) and what they hold.

Run with an environment that has torch and numpy: python tests/interop/make_torch_data.py
"""

from collections import OrderedDict
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent / "data"


def value(torch):
    torch.manual_seed(3)
    base = torch.arange(24.0).reshape(4, 6)
    layer = torch.nn.Linear(3, 2)
    return OrderedDict(
        kinds={
            name: torch.arange(-3, 4).to(getattr(torch, name))
            for name in (
                "float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64",
                "uint8", "bool", "complex64", "complex128", "uint16",
            )
        },
        views={
            "base": base,
            "transposed": base.T,
            "cut": base[1:3, ::2],
            "row": base[3],
            "expanded": base[:1, :1].expand(3, 5),
            "scalar": torch.tensor(2.5),
            "empty": torch.zeros(0, 3),
            "volume": torch.randn(2, 3, 4, 5).permute(3, 1, 0, 2),
        },
        layer=layer.state_dict(),
        parameter=layer.weight,
        buffer=torch.nn.Parameter(torch.ones(2), requires_grad=False),
        plain={
            "int": -7, "big": 2**70, "float": 0.1, "text": "käse\n", "none": None, "true": True,
            "tuple": (1, (2, 3), ()), "list": [1, [2.5, "x"]], "bytes": b"\x00\xff", 3: "key",
            "set": {1, 2}, "size": torch.Size([2, 3]), "device": torch.device("cuda", 1),
            "cpu": torch.device("cpu"), "dtype": torch.float32,
        },
        numpy={
            "scalar": np.float64(0.25), "float32": np.float32(0.1), "int": np.int64(-5),
            "bool": np.bool_(True), "array": np.arange(6, dtype=np.float32).reshape(2, 3),
            "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
            "text": np.array(["ab", "c"]),
        },
    )  # fmt: skip


def arrays(torch, tree, prefix=""):
    for key, item in tree.items():
        if isinstance(item, dict):
            yield from arrays(torch, item, f"{prefix}{key}/")
        elif isinstance(item, torch.Tensor):
            item = item.detach()
            yield prefix + key, (item.float() if item.dtype == torch.bfloat16 else item).numpy()


def main():
    import torch

    HERE.mkdir(exist_ok=True)
    found = value(torch)
    for name, options in {
        "zip": {},
        "zip_protocol5": {"pickle_protocol": 5},
        "legacy": {"_use_new_zipfile_serialization": False},
    }.items():
        torch.save(found, HERE / f"torch_{name}.pt", **options)
    np.savez_compressed(HERE / "torch_expected.npz", **dict(arrays(torch, found)))


if __name__ == "__main__":
    main()
