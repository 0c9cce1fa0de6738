"""Batches of a run in the order of its steps, drawn ahead of the training by Grain.

The batch of a step is a function of each member's seed and that step, so a run that resumes at
step n goes on with what an uninterrupted one would have drawn, whatever draws it: this process or
several others.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import final

import grain
import numpy as np
from absl import flags
from jaxtyping import Float32, UInt8

from score_jax.config import SamplingConfig
from score_jax.data.patches import Member as Member
from score_jax.data.patches import choose_patches, read_patches
from score_jax.data.prepared import PreparedDataset
from score_jax.errors import ConfigError

Masks = UInt8[np.ndarray, "m b *shape r"] | Float32[np.ndarray, "m b *shape r"]
Batch = tuple[Float32[np.ndarray, "m b *shape c"], Masks]


@contextlib.contextmanager
def open_batches(
    prepared: PreparedDataset,
    members: Sequence[Member],
    sampling: SamplingConfig,
    *,
    steps: int,
    first_step: int = 0,
    shape: Sequence[int] | None = None,
    slice_axis: int = 2,
    workers: int = 0,
    prefetch: int = 2,
) -> Iterator[Iterator[Batch]]:
    """The batches of the steps ``first_step`` to ``steps - 1``, in this order.

    Args:
      prepared: holds the cases of all members.
      members: each has its own order of cases and places.
      sampling: patch size and batch size.
      steps: of the whole run; none are left if `first_step` is not below it.
      first_step: 0, or the step a run resumes at.
      shape: voxels to cut if more than the patch (`augment`'s source patch).
      slice_axis: the axis across the slices, for 2-D patches.
      workers: processes that draw; 0 draws in a thread of this one. A script that asks for some
        must guard what it runs by ``if __name__ == "__main__":``.
      prefetch: batches drawn ahead, over all workers; 0 draws when asked (without workers).

    Yields:
      Images ``(m, b, *shape, c)``, float32, and masks ``(m, b, *shape, r)``: the regions, then the
      voxels to ignore if ``prepared.has_ignore``. Masks are bytes of 0 or 1, a quarter of what the
      step makes of them on the device, or float32 where members learn the share of raters.

    Raises:
      ConfigError: a shape smaller than the patch, a member without cases, a rater that is not
        there.
      DatasetError: when a batch is asked for and a prepared case is damaged.
    """
    source = _Batches(
        prepared,
        tuple(members),
        sampling,
        tuple(shape or sampling.patch),
        slice_axis,
        first_step,
        steps,
    )
    if not len(source):
        yield iter(())
        return
    ahead = max(1, -(-prefetch // workers)) if workers else prefetch
    threads = grain.ReadOptions(num_threads=min(ahead, 1), prefetch_buffer_size=ahead)
    data = grain.MapDataset.source(source).to_iter_dataset(threads)
    if workers:
        if not flags.FLAGS.is_parsed():  # Grain asks for its flags, which only absl's main() sets
            flags.FLAGS.mark_as_parsed()
        data = data.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=ahead),
            worker_init_fn=_leave_signals_to_the_parent,
        )
        # copied out of shared memory, which must be gone before this process is, in a thread that
        # also hides the seconds in which the workers start
        data = grain.experimental.ThreadPrefetchIterDataset(
            data.map(_copied), prefetch_buffer_size=1
        )
    batches = iter(data)
    try:
        batches.start_prefetch()
        yield batches
    finally:
        batches.close()


def _copied(batch: Batch) -> Batch:
    images, masks = batch
    return np.array(images), np.array(masks)


@final
class _Batches:
    """Batch number i is that of step ``first_step + i``."""

    def __init__(
        self,
        prepared: PreparedDataset,
        members: tuple[Member, ...],
        sampling: SamplingConfig,
        shape: tuple[int, ...],
        slice_axis: int,
        first_step: int,
        steps: int,
    ) -> None:
        _check(prepared, members, sampling, shape)
        self._prepared, self._members, self._sampling = prepared, members, sampling
        self._shape, self._slice_axis = shape, slice_axis
        self._first, self._steps = first_step, steps

    def __len__(self) -> int:
        return max(0, self._steps - self._first)

    def __getitem__(self, index: int) -> Batch:
        patches = [
            patch
            for member in self._members
            for patch in choose_patches(
                self._prepared,
                member,
                self._sampling,
                shape=self._shape,
                slice_axis=self._slice_axis,
                step=self._first + int(index),
            )
        ]
        images, masks = (
            array.reshape(len(self._members), -1, *self._shape, array.shape[-1])
            for array in read_patches(self._prepared, patches)
        )
        return images, masks


def _check(
    prepared: PreparedDataset,
    members: Sequence[Member],
    sampling: SamplingConfig,
    shape: Sequence[int],
) -> None:
    if len(shape) != len(sampling.patch) or any(
        outer < inner for outer, inner in zip(shape, sampling.patch, strict=True)
    ):
        raise ConfigError(
            f"shape: got {list(shape)}; expected at least the patch {list(sampling.patch)}"
        )
    raters = max(1, len(prepared.raters))
    for number, member in enumerate(members):
        if not member.cases:
            raise ConfigError(f"member {number}: got no training case; expected at least one")
        if member.rater is None and raters > 1:
            raise ConfigError(
                f"member {number}: got no choice among {raters} raters; expected one of them, "
                "'any' or 'mean'"
            )
        if isinstance(member.rater, int) and not 0 <= member.rater < raters:
            raise ConfigError(
                f"member {number}: got the rater {member.rater}; expected 0 to {raters - 1}"
            )


def _leave_signals_to_the_parent(worker: int, workers: int) -> None:
    """What stops a run is the parent's to decide; a worker ends when told, or when it is alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()  # also returns if it was killed
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
