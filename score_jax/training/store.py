"""A run's checkpoints: the newest ones, each with the best weights so far, whole or not at all."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from score_jax import checkpointing
from score_jax.config import ModelSpec
from score_jax.errors import CheckpointError, errors_of_disk
from score_jax.training.step import TrainState

LAST_KEPT = 2  # the newest may be damaged by a dying disk: one more to fall back to

Numbers = tuple[float | None, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Position:
    """Where a run stands; the tuples have one entry a member of the ensemble.

    Args:
      step: optimiser steps done; the next batch is drawn for this number.
      score: last validation score; None before the first, or without validation images.
      smooth: its exponential average (`TrainConfig.score_smoothing`).
      best: best of these averages so far; the checkpoint's ``best`` weights are of that step.
      waited: validations since any member got better.
    """

    step: int
    score: Numbers
    smooth: Numbers
    best: Numbers
    waited: int = 0

    @classmethod
    def start(cls, members: int) -> "Position":
        """Before the first step."""
        nothing = (None,) * members
        return cls(0, nothing, nothing, nothing)

    @classmethod
    def read(cls, path: Path) -> "Position":
        """What a checkpoint says."""
        value = json.loads(path.read_text())
        numbers = (tuple(value[name]) for name in ("score", "smooth", "best"))
        return cls(value["step"], *numbers, waited=value["waited"])


class Store:
    """Checkpoints below ``run/checkpoints``, one folder a step.

    With several processes all of them call `save` and `restore`; Orbax lets each write its share
    of the arrays and one of them the rest.

    Args:
      run: the run folder.
    """

    def __init__(self, run: Path) -> None:
        self.folder = (run / "checkpoints").absolute()
        # opened by the first save: it lists the folder once, and `restore` may change it before
        self._manager: ocp.CheckpointManager | None = None

    def _open(self) -> ocp.CheckpointManager:
        if self._manager is not None:
            return self._manager
        with errors_of_disk(self.folder), checkpointing.quiet():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(
                self.folder,
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=policies.LatestN(LAST_KEPT),
                    enable_async_checkpointing=False,
                    cleanup_tmp_directories=True,
                ),
            )
            return self._manager

    def save(self, state: TrainState, best: Any, spec: ModelSpec, position: Position) -> None:
        """Write a checkpoint; all but the newest ones go.

        Raises:
          OutputError: disk full; what was saved before stays.
        """
        trees = {**_trees(state), "best": best}
        manager = self._open()
        with errors_of_disk(self.folder), checkpointing.quiet():
            manager.save(
                position.step,
                args=ocp.args.Composite(
                    **{name: ocp.args.StandardSave(tree) for name, tree in trees.items()},
                    model=ocp.args.JsonSave(spec.to_json()),
                    position=ocp.args.JsonSave(dataclasses.asdict(position)),
                ),
                force=True,
            )
            manager.wait_until_finished()

    def restore(
        self, template: TrainState, on_note: Callable[[str], None]
    ) -> tuple[TrainState, Any, Position] | None:
        """State, best weights and position of the newest readable checkpoint, if any.

        Damaged newer ones are named in `on_note` and moved aside as ``<step>.damaged``, so that
        the run can write these steps again.

        Args:
          template: a state of the run's shapes, on the run's devices.
          on_note: told of each damaged checkpoint, in one line.

        Raises:
          CheckpointError: there are some and none is readable.
        """
        steps = checkpointing.finished_steps(self.folder)
        if not steps:
            return None
        damaged: list[int] = []
        for step in reversed(steps):
            try:
                found = self._restore_step(step, template)
                self._set_aside(damaged)
                return found
            except Exception as error:
                reason = next(iter(str(error).splitlines()), type(error).__name__)[:150]
                on_note(f"checkpoint of step {step} is damaged ({reason}); trying an older one")
                damaged.append(step)
        raise CheckpointError(
            f"{self.folder}: got {len(steps)} checkpoints, none of them readable; expected one",
            hint="start again in another --out",
        )

    def _restore_step(self, step: int, template: TrainState) -> tuple[TrainState, Any, Position]:
        folder = self.folder / str(step)
        position = Position.read(folder / "position" / "metadata")
        wanted = {**_trees(template), "best": template.params}
        found = {}
        with checkpointing.quiet(), ocp.StandardCheckpointer() as checkpointer:
            for name, tree in wanted.items():
                abstract = jax.tree.map(_like, tree)
                found[name] = checkpointer.restore(folder / name, abstract)
        best = found.pop("best")
        return TrainState(**found), best, position

    def _set_aside(self, steps: list[int]) -> None:
        for step in steps:
            (self.folder / str(step)).rename(self.folder / f"{step}.damaged")

    def close(self) -> None:
        """Wait for what is being written."""
        if self._manager is not None:
            with checkpointing.quiet():
                self._manager.close()


def _trees(state: TrainState) -> dict[str, Any]:
    """The parts of a state that hold arrays, by name."""
    return {name: tree for name, tree in state._asdict().items() if jax.tree.leaves(tree)}


def _like(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
