"""Arithmetic of a program: the multiply-adds of its products and convolutions."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend import core

from score_jax.models import convolution


def multiply_adds(function: Callable[..., Any], *arguments: Any) -> int:
    """Multiply-adds of `function`'s matrix products and convolutions, loops unrolled.

    Convolutions are counted in their direct form, whatever form this platform gives them, so that
    the number belongs to the network. Nothing is computed: arguments may be
    ``jax.ShapeDtypeStruct``.
    """
    with convolution.form("direct"):
        return _of(jax.make_jaxpr(function)(*arguments).jaxpr)


def _of(program: core.Jaxpr) -> int:
    total = 0
    for equation in program.eqns:
        name, options = equation.primitive.name, equation.params
        if name == "dot_general":
            (contracted, _), _ = options["dimension_numbers"]
            shape = _shape(equation.invars[0])
            total += _size(equation) * math.prod(shape[axis] for axis in contracted)
        elif name == "conv_general_dilated":
            kernel = _shape(equation.invars[1])
            outputs = kernel[options["dimension_numbers"].rhs_spec[0]]
            total += _size(equation) * math.prod(kernel) // outputs
        else:
            times = options["length"] if name == "scan" else 1
            total += times * sum(_of(inner) for inner in _inner(options))
    return total


def _size(equation: core.JaxprEqn) -> int:
    return math.prod(_shape(equation.outvars[0]))


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def _inner(options: dict[str, Any]) -> Iterator[core.Jaxpr]:
    for value in options.values():
        if isinstance(value, core.ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, core.Jaxpr):
            yield value
