"""What the training loop reports; the command line turns it into a progress bar."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prepared:
    """So many cases of the dataset are on the network's grid."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Started:
    """The loop begins at `step` of `steps`, with so many training and validation cases."""

    step: int
    steps: int
    training_cases: int
    validation_cases: int
    parameters: int
    members: int = 1


@dataclass(frozen=True, slots=True)
class Compiled:
    """The step was compiled in `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Stepped:
    """One optimiser step; `loss` is known one step later than it was started.

    `waited` is the share of its time that the device had nothing to do but wait for the batch.
    """

    step: int
    loss: float
    seconds: float
    images_per_s: float
    waited: float


@dataclass(frozen=True, slots=True)
class Validated:
    """Mean Dice of each region over the whole validation images; `best` so far or not.

    `members` has the same numbers for each member of an ensemble, `dice` their mean.
    """

    step: int
    dice: Mapping[str, float]
    score: float
    best: bool
    members: tuple[Mapping[str, float], ...]


@dataclass(frozen=True, slots=True)
class Note:
    """Something a person should read, in one line."""

    text: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """The loop ended at `step`; `finished` unless a signal stopped it (resume to go on)."""

    step: int
    finished: bool


Event = Prepared | Started | Compiled | Stepped | Validated | Note | Stopped
OnEvent = Callable[[Event], None]
