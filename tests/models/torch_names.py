"""Tensors of the original MD-GRU put into one cell or layer; `interop` does it for networks."""

import numpy as np


def conv(weight):
    """Torch's (out, in, *taps) to our (*taps, in, out)."""
    return np.moveaxis(weight, (0, 1), (-1, -2))


def fill_cell(cell, w, prefix=""):
    for name, gates, candidate in (
        ("x_kernel", "filter_x_gates", "filter_x_candidate"),
        ("h_kernel", "filter_h_gates", "filter_h_candidate"),
    ):
        parts = [conv(w[prefix + gates]), conv(w[prefix + candidate])]
        getattr(cell, name)[...] = np.concatenate(parts, axis=-1)
    cell.bias[...] = np.concatenate([w[prefix + "bias_x_gates"], w[prefix + "bias_x_candidate"]])


def fill_layer(layer, w, prefix=""):
    for axis, directions in enumerate(layer.cells):
        for backward, cell in enumerate(directions):
            fill_cell(cell, w, f"{prefix}cgrus.{axis}.{backward}.")


def fill_linear(linear, w, prefix):
    weight = w[prefix + "weight"]
    linear.kernel[...] = weight.reshape(weight.shape[:2]).T
    linear.bias[...] = w[prefix + "bias"]


def group(archive, prefix):
    return {k[len(prefix) :]: archive[k] for k in archive.files if k.startswith(prefix)}
