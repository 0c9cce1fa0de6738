"""A model as ONNX: the same layers as nodes of one graph, weights and specification inside.

The graph is written from the networks' layers, not from a trace: runtimes know convolutions,
instance norms and transposed convolutions with channels first, and fuse them; a traced program
would bring them our channels-last layout and norms in pieces.

Input ``image (batch, channels, *space)``, output ``logits (batch, outputs, *space)``, float32; of
an ensemble the mean over its members.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from flax import nnx
from jaxtyping import Float
from onnx import TensorProto, helper, numpy_helper

from score_jax import checkpointing
from score_jax.config import ModelSpec
from score_jax.config.exported import INPUT, METADATA, OUTPUT
from score_jax.models import cgru, mdgru, unet

OPSET = 17  # the newest every runtime of the last three years reads; Scan and Split as they are now
IR_VERSION = 8  # that opset's own
_QUANTISED_FROM = 64  # values; smaller arrays gain nothing


def graph_of(
    spec: ModelSpec,
    members: Sequence[Mapping[Any, Any]],
    *,
    weights: str = "float32",
    metadata: Mapping[str, Any],
) -> onnx.ModelProto:
    """The model as a checked ONNX graph.

    An MDGRU takes any batch and size, a U-Net any batch of windows of ``spec.tile``.

    Args:
      spec: the model's specification.
      members: weights of one network, or of several whose logits are averaged.
      weights: how they are stored, "float32", "float16" or "int8" (one scale for each output
        channel); the arithmetic is float32 whichever it is.
      metadata: what inference must know besides, as plain values (`export.describe`).
    """
    graph = _Graph(weights)
    logits = [graph.network(_module(spec, params)) for params in members]
    total = logits[0] if len(logits) == 1 else graph.add("Mean", *logits)
    graph.add("Identity", total, name=OUTPUT)
    free = spec.kind == "mdgru"
    space = [f"size_{n}" if free else size for n, size in enumerate(spec.tile)]

    def described(name: str, channels: int) -> onnx.ValueInfoProto:
        shape = ["batch", channels, *space]
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "score-jax",
            [described(INPUT, spec.in_channels)],
            [described(OUTPUT, spec.out_channels)],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="score-jax",
    )
    helper.set_model_props(model, {METADATA: json.dumps(metadata)})
    onnx.checker.check_model(model)
    return model


def _module(spec: ModelSpec, params: Mapping[Any, Any]) -> nnx.Module:
    """The network with these weights; deep supervision's outputs are never asked for."""
    module = nnx.eval_shape(lambda: checkpointing.build_model(spec))
    state = nnx.state(module, nnx.Param)
    nnx.replace_by_pure_dict(state, dict(params))
    nnx.update(module, state)
    return module


class _Graph:
    """Nodes and weights, added one after another; methods return the name of their result."""

    def __init__(self, stored: str) -> None:
        self.stored = stored
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        name = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name, **attributes))
        return name

    def constant(self, values: Any) -> str:
        """Exact values, such as axes and sizes."""
        name = f"constant_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def weight(self, values: Any) -> str:
        """A trained array, output channels first, stored as asked for and read as float32."""
        values = np.asarray(values, np.float32)
        if self.stored == "float32" or values.size < _QUANTISED_FROM:
            return self.constant(values)
        if self.stored == "float16":
            half = values.astype(np.float16)
            return self.add("Cast", self.constant(half), to=TensorProto.FLOAT)
        largest = np.abs(values).max(axis=tuple(range(1, values.ndim)), initial=0)
        scale = np.where(largest == 0, 1, largest / 127).astype(np.float32)
        column = scale.reshape(-1, *(1,) * (values.ndim - 1))
        whole = np.round(values / column).astype(np.int8)
        zeros = self.constant(np.zeros(len(scale), np.int8))
        names = self.constant(whole), self.constant(scale), zeros
        return self.add("DequantizeLinear", *names, axis=0)

    def network(self, module: nnx.Module) -> str:
        if isinstance(module, unet.UNet3D):
            return self._unet(module)
        assert isinstance(module, mdgru.MDGRU)
        return self._mdgru(module)

    def convolve(
        self,
        x: str,
        kernel: Float[np.ndarray, "*taps c_in c_out"],
        bias: Float[np.ndarray, " c_out"] | None = None,
        strides: Sequence[int] | None = None,
    ) -> str:
        """Zero padding ``k // 2``, as `models.convolution.convolve`."""
        taps = kernel.shape[:-2]
        half = [size // 2 for size in taps]
        inputs = [x, self.weight(np.moveaxis(kernel, (-1, -2), (0, 1)))]
        if bias is not None:
            inputs.append(self.constant(np.asarray(bias, np.float32)))
        return self.add(
            "Conv", *inputs, pads=[*half, *half], strides=list(strides or (1,) * len(taps))
        )

    # U-Net

    def _unet(self, net: unet.UNet3D) -> str:
        x = INPUT if net.stem is None else self._conv_norm_act(net.stem, INPUT)
        skips = []
        for stage in net.encoder:
            for block in stage:
                residual = isinstance(block, unet.ResidualBlock)
                x = self._residual(block, x) if residual else self._conv_norm_act(block, x)
            skips.append(x)
        for stage, skip in zip(net.decoder, skips[-2::-1], strict=True):
            kernel = np.asarray(stage.up_kernel[...])
            strides = kernel.shape[:-2]
            # ConvTranspose stores input channels first; there is one scale an output channel
            weight = self.weight(np.moveaxis(kernel, (-1, -2), (0, 1)))
            order = [1, 0, *range(2, kernel.ndim)]
            weight = self.add("Transpose", weight, perm=order)
            x = self.add(
                "ConvTranspose", x, weight, self._values(stage.up_bias),
                kernel_shape=list(strides), strides=list(strides),
            )  # fmt: skip
            x = self.add("Concat", x, skip, axis=1)
            for conv in stage.convs:
                x = self._conv_norm_act(conv, x)
        return self._conv(net.decoder[-1].head, x)

    def _conv(self, conv: unet.Conv, x: str) -> str:
        bias = None if conv.bias is None else np.asarray(conv.bias[...])
        return self.convolve(x, np.asarray(conv.kernel[...]), bias, conv.stride)

    def _norm(self, norm: unet.InstanceNorm, x: str) -> str:
        scale, bias = self._values(norm.scale), self._values(norm.bias)
        return self.add("InstanceNormalization", x, scale, bias, epsilon=unet.EPSILON)

    def _conv_norm_act(self, block: unet.ConvNormAct, x: str) -> str:
        x = self._norm(block.norm, self._conv(block.conv, x))
        return self.add("LeakyRelu", x, alpha=unet.SLOPE)

    def _residual(self, block: unet.ResidualBlock, x: str) -> str:
        skip = x
        if any(stride != 1 for stride in block.stride):
            stride = list(block.stride)
            skip = self.add("AveragePool", skip, kernel_shape=stride, strides=stride)
        if block.project is not None and block.project_norm is not None:
            skip = self._norm(block.project_norm, self._conv(block.project, skip))
        y = self._norm(block.norm, self._conv(block.second, self._conv_norm_act(block.first, x)))
        return self.add("LeakyRelu", self.add("Add", y, skip), alpha=unet.SLOPE)

    def _values(self, param: nnx.Param) -> str:
        return self.constant(np.asarray(param[...], np.float32))

    # MDGRU

    def _mdgru(self, net: mdgru.MDGRU) -> str:
        x = INPUT
        last = len(net.layers) - 1
        for number, (layer, linear) in enumerate(zip(net.layers, net.linears, strict=True)):
            y = self._layer(layer, x, net.ndim)
            if linear is not None:
                y = self._dense(linear, y, net.ndim)
                if net.shortcuts:
                    y = self.add("Add", y, self._dense(net.shortcuts[number], x, net.ndim))
                y = y if number == last else self.add("Tanh", y)
            x = y
        return x

    def _dense(self, linear: nnx.Linear, x: str, ndim: int) -> str:
        """A voxel-wise linear layer is a convolution with one tap."""
        kernel = np.asarray(linear.kernel[...])
        bias = None if linear.bias is None else np.asarray(linear.bias[...])
        return self.convolve(x, kernel.reshape((1,) * ndim + kernel.shape), bias)

    def _layer(self, layer: cgru.MDGRULayer, x: str, ndim: int) -> str:
        parts = [
            self._sweep(cell, x, axis, ndim, backward=backward)
            for axis, directions in enumerate(layer.cells)
            for backward, cell in zip((False, True), directions, strict=True)
        ]
        if layer.combine == "concat":
            return self.add("Concat", *parts, axis=1)
        return self.add("Sum" if layer.combine == "sum" else "Mean", *parts)

    def _sweep(self, cell: cgru.ConvGRU, x: str, axis: int, ndim: int, *, backward: bool) -> str:
        """One ConvGRU along `axis`; slices become the scan's first axis and return."""
        kernel = np.expand_dims(np.asarray(cell.x_kernel[...]), axis)  # one tap along the sweep
        terms = self.convolve(x, kernel, np.asarray(cell.bias[...]))
        perm = [2 + axis, 0, 1, *(2 + n for n in range(ndim) if n != axis)]
        slices = self.add("Transpose", terms, perm=perm)
        h_kernel = np.asarray(cell.h_kernel[...])
        hidden = h_kernel.shape[-2]
        # zeros of the shape of one slice's states
        shape = self.add("Shape", slices)
        cut = lambda a, b: self.add(  # noqa: E731
            "Slice", shape, self.constant(np.array([a])), self.constant(np.array([b]))
        )
        state = self.add("Concat", cut(1, 2), self.constant(np.array([hidden])), cut(3, 9), axis=0)
        start = self.add("ConstantOfShape", state)
        body = self._step(h_kernel, put_r_back=cell.put_r_back)
        direction = [int(backward)]
        end, states = f"end_{len(self.nodes)}", f"states_{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(
                "Scan",
                [start, slices],
                [end, states],
                states,
                body=body,
                num_scan_inputs=1,
                scan_input_directions=direction,
                scan_output_directions=direction,
            )
        )
        return self.add("Transpose", states, perm=np.argsort(perm).tolist())

    def _step(
        self, kernel: Float[np.ndarray, "*taps hidden three_hidden"], *, put_r_back: bool
    ) -> onnx.GraphProto:
        """One step of a ConvGRU (`models.cgru`); it reads the kernels of the graph around it."""
        hidden = kernel.shape[-2]
        half = [size // 2 for size in kernel.shape[:-2]] * 2
        first = np.moveaxis(kernel, (-1, -2), (0, 1))
        parts = (first[: 2 * hidden], first[2 * hidden :]) if put_r_back else (first,)
        weights = [self.weight(part) for part in parts]
        nodes: list[onnx.NodeProto] = []
        mark = len(self.nodes)

        def add(kind: str, *inputs: str, outputs: Sequence[str] = (), **attributes: Any) -> str:
            names = [f"{o}_{mark}" for o in outputs or [f"{kind.lower()}{len(nodes)}"]]
            nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
            return names[0]

        def split(value: str, *names: str) -> list[str]:
            add("Split", value, outputs=names, axis=1)
            return [f"{name}_{mark}" for name in names]

        state, terms = f"state_{mark}", f"terms_{mark}"
        pre = split(terms, "z", "r", "c")
        if put_r_back:
            gates = split(add("Conv", state, weights[0], pads=half), "hz", "hr")
        else:
            gates = split(add("Conv", state, weights[0], pads=half), "hz", "hr", "hc")
        keep = add("Sigmoid", add("Add", pre[0], gates[0]))
        reset = add("Sigmoid", add("Add", pre[1], gates[1]))
        old = state
        if put_r_back:
            old = add("Mul", reset, state)
            inner = add("Conv", old, weights[1], pads=half)
        else:
            inner = add("Mul", reset, gates[2])
        candidate = add("Tanh", add("Add", pre[2], inner))
        kept = add("Mul", keep, add("Sub", old, candidate))
        new = add("Add", candidate, kept, outputs=("new",))
        again = add("Identity", new, outputs=("out",))
        described = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, None)  # noqa: E731
        return helper.make_graph(
            nodes, "step", [described(state), described(terms)], [described(new), described(again)]
        )
