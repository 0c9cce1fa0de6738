"""Where arrays of a run live: one device, or several on axes "members", "batch" and "space"."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Shaped

from score_jax.config import TrainConfig
from score_jax.errors import ConfigError

AXES = ("members", "batch", "space")


def join(how: str) -> None:
    """Make this process one of several that train together; before anything else touches JAX.

    Args:
      how: "auto" under Slurm, Open MPI or on a TPU pod; else ``HOST:PORT,PROCESSES,NUMBER``, the
        address at which the first process (number 0) waits for the others.

    Raises:
      ConfigError: another form, or nobody answers.
    """
    try:
        if how == "auto":
            jax.distributed.initialize()
            return
        address, processes, number = how.split(",")
        # bound to that address alone, not to every interface of the machine
        jax.distributed.initialize(
            address, int(processes), int(number), coordinator_bind_address=address
        )
    except (ValueError, TypeError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(
            f"--distributed {how!r}: cannot join ({reason}); expected 'auto' under Slurm, or "
            "HOST:PORT,PROCESSES,NUMBER"
        ) from None


def together(name: str) -> None:
    """Wait until every process is here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def make_mesh(config: TrainConfig, members: int) -> Mesh | None:
    """The devices a run asks for; None if it is one.

    Raises:
      ConfigError: more devices than there are, or numbers that do not divide.
    """
    compute = config.compute
    shape = (compute.devices_members, compute.devices_batch, compute.devices_space)
    count = int(np.prod(shape))
    if count == 1 and jax.process_count() == 1:
        return None
    found = jax.devices()
    text = f"compute.devices_members x devices_batch x devices_space: got {shape}"
    if count > len(found) or (jax.process_count() > 1 and count != len(found)):
        raise ConfigError(f"{text}; expected their product to be the {len(found)} devices here")
    if members % shape[0]:
        raise ConfigError(f"{text}; expected the first to divide the {members} members")
    part = config.sampling.batch // compute.accumulate
    if part % shape[1]:
        raise ConfigError(f"{text}; expected the second to divide the {part} patches of a part")
    if config.sampling.patch[0] % shape[2]:
        raise ConfigError(
            f"{text}; expected the third to divide the {config.sampling.patch[0]} voxels of the "
            "patch's first axis"
        )
    auto = (AxisType.Auto,) * len(AXES)  # the compiler splits what follows from the placement
    return jax.make_mesh(shape, AXES, axis_types=auto, devices=found[:count])


def placement(mesh: Mesh | None, *axes: str | None) -> Callable[[Any], Any]:
    """A function that puts a tree of arrays on the mesh, leading axes split over `axes`.

    Every process must hold the whole arrays; each device takes its share of them.
    """
    if mesh is None:
        return lambda tree: tree
    sharding = NamedSharding(mesh, PartitionSpec(*axes))

    def put(leaf: Shaped[np.ndarray, "..."] | Array) -> Array:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = put(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        whole = np.asarray(leaf)
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    return lambda tree: jax.tree.map(put, tree)


def whole(tree: Any) -> Any:
    """A tree of arrays from all devices and processes, on every host."""
    if jax.process_count() == 1:
        return tree
    return multihost_utils.process_allgather(tree, tiled=True)


def from_lead(value: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    """What the first process holds, on every process."""
    if jax.process_count() == 1:
        return value
    return np.asarray(multihost_utils.broadcast_one_to_all(value))


def any_process(flag: bool) -> bool:
    """Whether `flag` is set on any process; all of them must ask."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


def is_lead() -> bool:
    """Whether this process writes the files of the run and talks to people."""
    return jax.process_index() == 0
