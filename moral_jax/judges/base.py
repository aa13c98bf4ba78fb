"""The contract of a judge: replies in, a number for each out, or None where it cannot say."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from moral_jax.judges.rubric import Rubric
from moral_jax.runtime import programs
from moral_jax.types import Example, UserError


class Written(NamedTuple):
    """A reply that waits to be judged."""

    example: Example  # the row
    prompt: str  # as the model read it, its chat template applied
    text: str
    reason: str = ""  # why it is over: end, stop, length; empty where nobody knows
    tokens: int | None = None  # None where nobody knows
    sample: int = 0  # which of the replies to its prompt

    @property
    def id(self) -> str:
        """The id of the row."""
        return self.example.id

    @property
    def messages(self) -> tuple[dict[str, str], ...]:
        """The turns of the prompt; empty where it is a plain text."""
        return self.example.messages

    @property
    def asked(self) -> str:
        """What the reply answers, as people read it: the last turn of the user's, or the prompt."""
        said = [turn["content"] for turn in self.messages if turn["role"] == "user"]
        return self.example.text or (said[-1] if said else self.prompt)


Numbers = Sequence[float | None]
Judging = Callable[[Sequence[Written]], Numbers]

REWARD, VIOLATION, REFUSAL, QUALITY = "reward", "violation", "refusal", "quality"  # what more of a number means
ANY = (-math.inf, math.inf)
SHARE = (0.0, 1.0)


class Model(NamedTuple):
    """Judging by weights, and what tells these weights from others."""

    judge: Judging
    identity: str


class Judge(NamedTuple):
    """Something that says a number of each reply, and what the number means."""

    name: str  # the setting that names it
    judge: Judging
    range: tuple[float, float] = SHARE  # the lowest and the highest number
    higher_is: str = REWARD  # what more of it means: violation, refusal, quality, positive sentiment ...
    cut: float = 0.5  # from here on it says yes
    version: str = "1"
    identity: str = ""  # of what stands behind the name: hash of a file, or of weights
    on_primary: bool = False  # true for a user's own function, which may see another world on every machine
    labelled: str = ""  # a file with labels, on which its agreement is computed; empty: unchecked

    @property
    def about(self) -> dict[str, Any]:
        """What a record says of the judge. JSON: an end of the range that is infinite is None."""
        low, high = (x if math.isfinite(x) else None for x in self.range)
        return {
            "range": [low, high],
            "higher_is": self.higher_is,
            "cut": self.cut,
            "version": self.version,
            "identity": self.identity,
        }


class Behind(NamedTuple):
    """What stands in higher rooms: reward models, and respondents that answer the questions of rubrics."""

    run: Callable[[str], Model]  # the folder of a reward model
    rubric: Callable[[Rubric, str], Model]  # a rubric, and who answers it ("" for the default one)


def _nobody(*_: object) -> Model:
    raise UserError("a judge that is a model cannot be asked here; name one that reads the text alone")


WITHOUT_MODELS = Behind(_nobody, _nobody)


def numbers_of(judge: Judge, replies: Sequence[Written], place: str = "--judge") -> list[float | None]:
    """Returns what a judge says of each reply.

    Args:
      place: the setting that names it, for errors.

    Raises:
      UserError: it is a user's function that fails, or returns anything but a finite number or None for each.
    """
    with programs.running(f"{place}={judge.name!r}"):
        said: Any = judge.judge(replies)
        if isinstance(said, Iterator):
            said = list(said)
    try:
        values = [None if x is None else float(x) for x in said]
    except (TypeError, ValueError, OverflowError):
        values = []
    bad = [x for x in values if x is not None and not math.isfinite(x)]
    if len(values) != len(replies) or bad:
        found = f"{bad[0]}" if bad else f"{type(said).__name__} of {len(values)}"
        raise UserError(
            f"{place}={judge.name!r}: returned {found} for {len(replies)} replies; expected a finite number or None "
            f"for each"
        )
    return values
