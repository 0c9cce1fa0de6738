"""MDGRU in PyTorch as the reference computes it: the peer of our speed comparisons.

Written from the published equations and a description of the original program: a Python loop over
time steps, four convolutions in each (input and state, gates and candidate). It is no part of the
library: `benchmarks/bench_mdgru.py` runs it in an environment that holds torch.

    python benchmarks/peers/mdgru_torch.py --check FIXTURES   # the original program's numbers
    python benchmarks/peers/mdgru_torch.py --serve            # timing, driven by bench_mdgru.py
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))
import _timing

ADADELTA = {"lr": 1.0, "rho": 0.9, "eps": 1e-6}


def convolve(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None):
    function = nn.functional.conv1d if weight.ndim == 3 else nn.functional.conv2d
    return function(x, weight, bias, padding=tuple(n // 2 for n in weight.shape[2:]))


class Cell(nn.Module):
    """One direction along one axis: ``(t, b, c, *space)`` to ``(t, b, hidden, *space)``."""

    def __init__(self, c_in, hidden, taps_x, taps_h, keep_rate=0.5, drop_candidates=False):
        super().__init__()
        self.keep_rate, self.drop_candidates = keep_rate, drop_candidates
        self.filter_x_gates = nn.Parameter(torch.empty(2 * hidden, c_in, *taps_x))
        self.filter_h_gates = nn.Parameter(torch.empty(2 * hidden, hidden, *taps_h))
        self.filter_x_candidate = nn.Parameter(torch.empty(hidden, c_in, *taps_x))
        self.filter_h_candidate = nn.Parameter(torch.empty(hidden, hidden, *taps_h))
        self.bias_x_gates = nn.Parameter(torch.ones(2 * hidden))
        self.bias_x_candidate = nn.Parameter(torch.zeros(hidden))
        for name, value in self.named_parameters():
            if name.startswith("filter"):
                nn.init.xavier_normal_(value)

    def noisy(self, name):
        weight = getattr(self, f"filter_{name}")
        if not self.training or self.keep_rate == 1:
            return weight
        if name.endswith("candidate") and not self.drop_candidates:
            return weight
        spread = ((1 - self.keep_rate) / self.keep_rate) ** 0.5
        return weight * torch.normal(1.0, spread, weight.shape)

    def forward(self, x):
        x_gates, x_candidate = self.noisy("x_gates"), self.noisy("x_candidate")
        h_gates, h_candidate = self.noisy("h_gates"), self.noisy("h_candidate")
        state, states = None, []
        for x_t in x:
            gates = convolve(x_t, x_gates, self.bias_x_gates)
            candidate = convolve(x_t, x_candidate, self.bias_x_candidate)
            if state is not None:
                gates = gates + convolve(state, h_gates)
            keep, reset = torch.sigmoid(gates).chunk(2, dim=1)
            if state is None:
                state = (1 - keep) * torch.tanh(candidate)
            else:
                candidate = torch.tanh(candidate + reset * convolve(state, h_candidate))
                state = keep * state + (1 - keep) * candidate
            states.append(state)
        return torch.stack(states)


class Layer(nn.Module):
    """Both directions along every axis of ``(b, c, *space)``, averaged."""

    def __init__(self, c_in, hidden, taps_x, taps_h, **options):
        super().__init__()

        def without(axis, taps):
            return taps[:axis] + taps[axis + 1 :]

        self.cgrus = nn.ModuleList(
            nn.ModuleList(
                Cell(c_in, hidden, without(axis, taps_x), without(axis, taps_h), **options)
                for _ in range(2)
            )
            for axis in range(len(taps_x))
        )

    def forward(self, x):
        total = 0
        for axis, (forward, backward) in enumerate(self.cgrus):
            slices = x.movedim(2 + axis, 0)
            states = forward(slices) + backward(slices.flip(0)).flip(0)
            total = total + states.movedim(0, 2 + axis)
        return total / (2 * len(self.cgrus))


class Block(nn.Module):
    def __init__(self, layer, linear, activation):
        super().__init__()
        self.model = nn.Sequential(layer, *([] if linear is None else [linear]))
        self.activation = activation and linear is not None

    def forward(self, x):
        y = self.model(x)
        return torch.tanh(y) if self.activation else y


class MDGRU(nn.Module):
    """The default network of the reference, its state-dict names included."""

    def __init__(
        self, c_in, classes, ndim, hidden=(16, 32, 64), linear=(25, 45), taps=7, taps_h=None
    ):
        super().__init__()
        taps = (taps,) * ndim if isinstance(taps, int) else tuple(taps)
        pointwise = nn.Conv2d if ndim == 2 else nn.Conv3d
        blocks, outputs = [], (*linear, classes)
        for number, (units, width) in enumerate(zip(hidden, outputs, strict=True)):
            last = number == len(hidden) - 1
            dense = None if width is None else pointwise(units, width, 1)
            if dense is not None:
                nn.init.xavier_normal_(dense.weight)
                nn.init.zeros_(dense.bias)
            blocks.append(Block(Layer(c_in, units, taps, taps_h or taps), dense, not last))
            c_in = units if width is None else width
        self.model = nn.Sequential(*blocks)

    def forward(self, x):
        return self.model(x)


# --- the original program's numbers -------------------------------------------------------------


def weights(data, prefix="w/"):
    return {k[len(prefix) :]: torch.tensor(data[k]) for k in data if k.startswith(prefix)}


def network_of(state):
    """The network that a state dict describes (widths and taps from its shapes)."""
    blocks = range(1 + max(int(name.split(".")[1]) for name in state))
    first = [state[f"model.{b}.model.0.cgrus.0.0.filter_x_candidate"] for b in blocks]
    linear = [state.get(f"model.{b}.model.1.weight") for b in blocks]
    ndim = first[0].ndim - 1

    def taps(kind):
        # Axis 0 lends its kernel to the cells of the other axes, and the others theirs to its.
        of = [
            state[f"model.0.model.0.cgrus.{d}.0.filter_{kind}_candidate"].shape[2:] for d in (0, 1)
        ]
        return (of[1][0], *of[0])

    widths = [None if w is None else len(w) for w in linear]
    net = MDGRU(
        first[0].shape[1], widths[-1], ndim, [len(f) for f in first], widths[:-1],
        taps("x"), taps("h"),
    )  # fmt: skip
    net.load_state_dict(state)
    return net.eval()


def check(folder: Path) -> list[dict[str, object]]:
    """Largest difference from the original program on fixtures a to f, and its tolerance."""
    rows = []

    def note(name, got, want, tolerance):
        error = float(np.abs(got.detach().numpy() - want).max())
        rows.append({"fixture": name, "error": error, "tolerance": tolerance})

    for path in sorted(folder.glob("[a-f]_*.npz")):
        data, name = dict(np.load(path)), path.stem
        state = weights(data)
        if name[0] in "ab":
            x_taps = state["filter_x_gates"].shape[2:]
            hidden, c_in = state["filter_x_candidate"].shape[:2]
            cell = Cell(c_in, hidden, x_taps, state["filter_h_gates"].shape[2:])
            cell.load_state_dict(state)
            note(name, cell.eval()(torch.tensor(data["x"])), data["y"], 1e-5)
        elif name.startswith("c_mdrnn"):
            ndim = data["x"].ndim - 2

            def taps(values, ndim=ndim):
                values = [int(v) for v in values]
                return tuple(values * ndim if len(values) == 1 else values)

            layer = Layer(
                data["x"].shape[1], data["y"].shape[1],
                taps(data["filter_size_x"]), taps(data["filter_size_h"]),
            )  # fmt: skip
            layer.load_state_dict(state)
            note(name, layer.eval()(torch.tensor(data["x"])), data["y"], 1e-5)
        elif name[0] in "de":
            tolerance = 5e-5 if name[0] == "d" else 2e-5
            note(name, network_of(state)(torch.tensor(data["x"])), data["logits"], tolerance)
        elif name[0] == "f":
            of = "d_net_2d_8ch" if "2d" in name else "e_net_3d_small"
            source = dict(np.load(folder / f"{of}.npz"))
            net = network_of(weights(source))
            logits = net(torch.tensor(source["x"]))
            loss = nn.functional.cross_entropy(logits, torch.tensor(source["labels"]).long())
            note(f"{name} loss", loss, data["loss"], 1e-6 + 1e-3 * abs(float(data["loss"])))
            loss.backward()
            for key, want in weights(data, "grad/").items():
                gradient = dict(net.named_parameters())[key].grad
                bound = 1e-6 + 1e-3 * float(want.abs().max())
                note(f"{name} {key}", gradient, want.numpy(), bound)
    return rows


# --- timing -------------------------------------------------------------------------------------


def prepare(case: dict):
    """The call that `case` (see bench_mdgru.py) asks to time."""
    torch.manual_seed(0)
    net = MDGRU(case["channels"], case["classes"], len(case["space"]))
    x = torch.randn(case["batch"], case["channels"], *case["space"])
    if case["what"] == "forward":
        net.eval()

        def forward():
            with torch.no_grad():
                return net(x)

        return forward
    labels = torch.randint(case["classes"], (case["batch"], *case["space"]))
    optimizer = torch.optim.Adadelta(net.parameters(), **ADADELTA)

    def step():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), labels)
        loss.backward()
        optimizer.step()
        return loss

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", type=Path, metavar="FIXTURES")
    parser.add_argument("--serve", action="store_true")
    arguments = parser.parse_args()
    if arguments.check:
        rows = check(arguments.check)
        for row in rows:
            verdict = "ok" if row["error"] <= row["tolerance"] else "WRONG"
            print(f"{row['fixture']:70} {row['error']:.1e} of {row['tolerance']:.1e} {verdict}")
        if not rows or any(row["error"] > row["tolerance"] for row in rows):
            sys.exit("the peer does not compute what the original computes")
    if arguments.serve:
        versions = {"torch": torch.__version__, "threads": torch.get_num_threads()}
        _timing.serve(prepare, versions)
    if not arguments.check and not arguments.serve:
        print(json.dumps({"torch": torch.__version__}))


if __name__ == "__main__":
    main()
