"""The training loop: build, restore, then step, validate, save; nothing of a run is lost.

Order within a step, not to be changed: take the batch of this step's number, dispatch the step,
then read the loss of the step before (the device never waits for the host); validate and save
after the step, so that a checkpoint matches its score.
"""

import contextlib
import dataclasses
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from score_jax import checkpointing, models
from score_jax.config import ModelSpec, TrainConfig
from score_jax.errors import DivergedError
from score_jax.training import devices, events, optimizer
from score_jax.training.progress import draw_progress
from score_jax.training.record import Record
from score_jax.training.step import TrainState, make_step
from score_jax.training.store import Position, Store

LOG_EACH = 10  # steps between lines of metrics.jsonl

# first step -> the batches from there on: images (m, b, *space, c) and masks (m, b, *space, r)
Stream = Callable[[int], AbstractContextManager[Iterator[tuple[np.ndarray, np.ndarray]]]]
# weights, member -> Dice of each region, over whole validation images; empty without any
Validate = Callable[[Mapping[Any, Any], int], Mapping[str, float]]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What is trained, on what.

    Args:
      config: of the run.
      spec: of the model; stored in every checkpoint.
      seeds: one a member of the ensemble.
      stream: batches from a step on.
      validate: scores a member's weights.
      training_cases: how many there are, for the report.
      validation_cases: the same.
      ignore: the masks' last channel marks voxels that take no part in the loss.
    """

    config: TrainConfig
    spec: ModelSpec
    seeds: Sequence[int]
    stream: Stream
    validate: Validate
    training_cases: int = 0
    validation_cases: int = 0
    ignore: bool = False


def train(
    task: Task,
    run: Path,
    *,
    resume: bool = False,
    init: tuple[ModelSpec, Mapping[Any, Any]] | None = None,
    tensorboard: bool = False,
    on_event: events.OnEvent = lambda event: None,
) -> events.Stopped:
    """Train, and return how it ended (unfinished if a signal stopped it).

    SIGINT and SIGTERM end the run after the step at hand, with a checkpoint.

    Args:
      task: what to train.
      run: the run folder; gets checkpoints/, metrics.jsonl and progress.png.
      resume: continue from the newest checkpoint, or from the start if there is none yet.
      init: a model to start from (fine-tuning), see `checkpointing.adopt`; what was taken is told
        in a note. A checkpoint has its own weights.
      tensorboard: also write TensorBoard files.
      on_event: told what happens.

    Raises:
      DivergedError: loss or gradient of a member is not finite.
      CheckpointError: `resume` finds nothing readable.
      OutputError: the disk is full.
      ConfigError: devices that are not there.
    """
    mesh = devices.make_mesh(task.config, len(task.seeds))
    lead = devices.is_lead()
    tell = on_event if lead else lambda event: None
    network = _build(task, init, tell)
    by_member = devices.placement(mesh, "members")
    state, store = by_member(network.state), Store(run)
    found = store.restore(state, lambda text: tell(events.Note(text))) if resume else None
    if found is None:
        found = state, jax.tree.map(jnp.copy, state.params), Position.start(len(task.seeds))
    if resume and not found[2].step:
        tell(events.Note("no checkpoint was written yet: starting from the first step"))
    state, best, position = found
    record = Record(run, position.step, tensorboard=tensorboard, silent=not lead)
    loop = _Loop(task, run, network, mesh, store, record, tell, state, best, position)
    count = sum(leaf[0].size for leaf in jax.tree.leaves(network.state.params))
    tell(
        events.Started(
            position.step,
            task.config.steps,
            task.training_cases,
            task.validation_cases,
            int(count),
            len(task.seeds),
        )
    )
    try:
        stopped = loop.run()
    finally:
        store.close()
        record.close()
    tell(stopped)
    return stopped


class _Loop:
    """State of a run while it goes."""

    def __init__(
        self,
        task: Task,
        run: Path,
        network: "_Network",
        mesh: Any,
        store: Store,
        record: Record,
        tell: events.OnEvent,
        state: TrainState,
        best: Any,
        position: Position,
    ) -> None:
        self.task, self.folder, self.store, self.record, self.tell = task, run, store, record, tell
        self.state, self.best, self.position = state, best, position
        config = task.config
        self.step = make_step(
            network.apply, network.optimizer, config, ignore=task.ignore, mesh=mesh
        )
        self.place_batch = devices.placement(mesh, "members", "batch", "space")
        place_keys = devices.placement(mesh, "members")
        keys = jax.vmap(jax.random.key)(jnp.asarray(task.seeds, jnp.uint32))
        fold = jax.jit(jax.vmap(jax.random.fold_in, in_axes=(0, None)))
        self.keys_of = lambda step: place_keys(fold(keys, step))

    def run(self) -> events.Stopped:
        """Step to the end, a signal, or the end of patience."""
        config, first = self.task.config, self.position.step
        pending: _Pending | None = None
        if self._impatient():
            return events.Stopped(first, finished=True)
        with _stop_signals() as stop, self.task.stream(first) as batches:
            for number in range(first, config.steps):
                started = time.perf_counter()
                idle = pending is None or pending.done
                images, masks = next(batches)
                # the device has waited for the batch if its work was done when the batch came
                late = pending is not None and pending.done
                waited = (time.perf_counter() - started) * (1.0 if idle else 0.5) * late
                batch = self.place_batch((images, masks))
                self.state, metrics = self.step(self.state, *batch, self.keys_of(number))
                if number == first:
                    jax.block_until_ready(metrics)
                    self.tell(events.Compiled(time.perf_counter() - started))
                self._flush(pending)
                pending = _Pending(number + 1, metrics, started, waited)
                last = number + 1 == config.steps
                stopping = self._stopping(stop, number)
                if last or (number + 1) % config.validate_each == 0:
                    self._flush(pending)
                    pending = None
                    self._validate(number + 1)
                    self._save()
                    if self._impatient() and not last:
                        self.tell(events.Note(f"no better score in {config.patience} validations"))
                        return events.Stopped(number + 1, finished=True)
                elif stopping:
                    self._flush(pending)
                    pending = None
                    self.position = dataclasses.replace(self.position, step=number + 1)
                    self._save()
                if stopping and not last:
                    return events.Stopped(number + 1, finished=False)
        return events.Stopped(config.steps, finished=True)

    def _stopping(self, stop: threading.Event, number: int) -> bool:
        if jax.process_count() > 1 and number % LOG_EACH:
            return False  # processes agree now and then: one must not stop alone
        return devices.any_process(stop.is_set())

    def _impatient(self) -> bool:
        patience = self.task.config.patience
        return bool(patience) and self.position.waited >= patience

    def _flush(self, pending: "_Pending | None") -> None:
        if pending is not None:
            images = len(self.task.seeds) * self.task.config.sampling.batch
            pending.report(self.record, self.tell, images)

    def _validate(self, step: int) -> None:
        weights = devices.whole(self.state.weights)
        scores = []
        if devices.is_lead():
            for member in range(len(self.task.seeds)):
                own = jax.tree.map(lambda leaf, m=member: leaf[m], weights)
                found = self.task.validate(own, member)
                scores.append({name: float(value) for name, value in found.items()})
        score = [_mean(found.values()) for found in scores] or [math.nan] * len(self.task.seeds)
        score = [float(v) for v in devices.from_lead(np.asarray(score, np.float64))]
        self.position, better = judge(self.position, step, score, self.task.config.score_smoothing)
        self.best = _keep(jnp.asarray(better), self.state.weights, self.best)
        known = [value for value in score if not math.isnan(value)]
        if not known or not scores:
            return
        dice = {name: _mean(found[name] for found in scores) for name in scores[0]}
        line = {"step": step, "score": _mean(score)}
        line |= {f"dice_{name}": value for name, value in dice.items()}
        if len(score) > 1:
            line["scores"] = score
        self.record.add(line)
        self.tell(events.Validated(step, dice, _mean(score), any(better), tuple(scores)))

    def _save(self) -> None:
        self.store.save(self.state, self.best, self.task.spec, self.position)
        if devices.is_lead():
            draw_progress(self.folder)


def judge(
    before: Position, step: int, score: Sequence[float], smoothing: float
) -> tuple[Position, tuple[bool, ...]]:
    """The position after a validation, and for each member whether its weights are the best.

    NaN is no score: weights count as best as long as none was scored.

    Args:
      before: the position of the validation before.
      step: of this one.
      score: one a member, NaN without validation images.
      smoothing: share of the old value in the average that is compared.
    """
    smooth, best, better = [], [], []
    for now, old, top in zip(score, before.smooth, before.best, strict=True):
        if math.isnan(now):
            smooth.append(old)
            best.append(top)
            better.append(top is None)
            continue
        value = now if old is None else smoothing * old + (1 - smoothing) * now
        smooth.append(value)
        better.append(top is None or value > top)
        best.append(value if better[-1] else top)
    known = tuple(None if math.isnan(value) else value for value in score)
    waited = 0 if any(better) else before.waited + 1
    return Position(step, known, tuple(smooth), tuple(best), waited), tuple(better)


@jax.jit
def _keep(better: Any, new: Any, old: Any) -> Any:
    """For each member the new weights or the old ones."""

    def choose(a: Any, b: Any) -> Any:
        return jnp.where(better.reshape(-1, *(1,) * (a.ndim - 1)), a, b)

    return jax.tree.map(choose, new, old)


def _mean(values: Any) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


@dataclasses.dataclass(frozen=True, slots=True)
class _Network:
    apply: Any
    state: TrainState
    optimizer: Any


def _build(
    task: Task, init: tuple[ModelSpec, Mapping[Any, Any]] | None, tell: events.OnEvent
) -> _Network:
    """Network, fresh weights of all members and optimiser, built in one compiled program."""
    config = task.config

    def model(seed: int | jax.Array) -> nnx.Module:
        network = checkpointing.build_model(task.spec, seed=seed)
        network.remat = config.compute.remat
        if isinstance(network, models.UNet3D):
            network.deep_supervision = config.unet.deep_supervision
        return network

    abstract = nnx.eval_shape(lambda: model(0))
    # the seed is an argument: an ensemble's members are drawn by one program, not one each
    draw = jax.jit(lambda seed: models.parameters(model(seed)))
    trees = [draw(np.uint32(seed)) for seed in task.seeds]
    if init is not None:
        other, weights = init
        adopted = [checkpointing.adopt(tree, task.spec, weights, other) for tree in trees]
        trees = [member.params for member in adopted]
        tell(events.Note(_taken(len(jax.tree.leaves(trees[0])), adopted[0])))
    frozen = None
    if isinstance(abstract, models.UNet3D) and abstract.deep_supervision:
        frozen = lowest_head(trees[0])
    chain = optimizer.build(config.optimizer, config.steps, frozen)
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
    average = jax.tree.map(jnp.copy, params) if config.weights_ema else ()
    state = TrainState(params, jax.jit(jax.vmap(chain.init))(params), average)
    return _Network(models.functional(abstract), state, chain)


def _taken(count: int, adopted: checkpointing.Adopted) -> str:
    text = f"started from {count - len(adopted.fresh)} of {count} tensors of the given model"
    for what, names in (
        ("regions taken over", adopted.kept),
        ("new regions", adopted.new),
        ("fresh", adopted.fresh),
    ):
        text += f"; {what}: {', '.join(names)}" if names else ""
    return text


def lowest_head(params: Any) -> Any:
    """True for the weights of the head of the lowest decoder stage, if there are several."""
    several = len(params["decoder"]) > 1

    def is_lowest(path: Any, leaf: Any) -> bool:
        del leaf
        keys = [getattr(entry, "key", None) for entry in path]
        return several and keys[:3] == ["decoder", 0, "head"]

    return jax.tree_util.tree_map_with_path(is_lowest, params)


class _Pending:
    """A step that was dispatched and whose loss was not read yet."""

    def __init__(
        self, step: int, metrics: Mapping[str, Any], started: float, waited: float
    ) -> None:
        self.step, self.metrics, self.started, self.waited = step, metrics, started, waited

    @property
    def done(self) -> bool:
        """Whether the device has finished it."""
        return self.metrics["loss"].is_ready()

    def report(self, record: Record, tell: events.OnEvent, images: int) -> None:
        losses, norms = (
            np.asarray(devices.whole(self.metrics[name]), np.float64)
            for name in ("loss", "gradient_norm")
        )
        seconds = time.perf_counter() - self.started
        for member, values in enumerate(zip(losses, norms, strict=True)):
            if not np.isfinite(values).all():
                who = f"member {member}: " if len(losses) > 1 else ""
                what = "loss" if not math.isfinite(values[0]) else "gradient"
                raise DivergedError(
                    f"step {self.step}: {who}the {what} is {values[what == 'gradient']}; expected "
                    "a finite number",
                    hint="lower optimizer.learning_rate; the last checkpoint is kept",
                )
        loss = float(losses.mean())
        if self.step % LOG_EACH == 0 or self.step == 1:
            line = {
                "step": self.step,
                "loss": loss,
                "gradient_norm": float(norms.mean()),
                "seconds": seconds,
                "images_per_s": images / seconds,
                "device_waited": self.waited / seconds,
            }
            if len(losses) > 1:
                line["losses"] = losses.tolist()
            record.add(line)
        tell(events.Stepped(self.step, loss, seconds, images / seconds, self.waited / seconds))


@contextlib.contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event set by SIGINT or SIGTERM; a second SIGINT interrupts at once.

    Outside the main thread Python lets nobody handle signals, and the event is never set.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, frame: Any) -> None:
        del frame
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
