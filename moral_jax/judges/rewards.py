"""Rewards: what a reply is worth. `RULES` is the one table of rules on texts; files and reward models come by path.

A reward is asked about all replies of a rollout at once and returns a number for each, or None where it cannot say.
Several are added with weights: "contains:sorry | 0.5*run:runs/reward".
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from moral_jax.runtime import programs
from moral_jax.types import Example, UserError


class Written(NamedTuple):
    """A reply that waits for its reward."""

    example: Example  # the row
    prompt: str  # as the model read it, its chat template applied
    text: str
    reason: str  # why it is over: end, stop, length
    tokens: int

    @property
    def id(self) -> str:
        """The id of the row."""
        return self.example.id

    @property
    def messages(self) -> tuple[dict[str, str], ...]:
        """The turns of the prompt; empty where it is a plain text."""
        return self.example.messages


Numbers = Sequence[float | None]
Reward = Callable[[Sequence[Written]], Numbers]
Rule = Callable[[Written], float]


class Model(NamedTuple):
    """A reward model, and what tells its weights from others."""

    reward: Reward
    identity: str


class Named(NamedTuple):
    """A reward with its name and weight."""

    name: str
    weight: float
    reward: Reward
    identity: str = ""  # of what stands behind the name: hash of a file, or of weights
    on_primary: bool = False  # true for a user's own function, which may see another world on every machine


def overlong(length: int, most: int, cache: int) -> float:
    """Returns DAPO's soft penalty of long texts (arXiv 2503.14476): 0 up to most - cache tokens, -1 from `most` on."""
    return min(0.0, max(-1.0, (most - cache - length) / cache))


def _finished(_: str) -> Rule:
    return lambda written: float(written.reason != "length")


def _contains(text: str) -> Rule:
    return lambda written: float(text.lower() in written.text.lower())


def _lacks(text: str) -> Rule:
    return lambda written: float(text.lower() not in written.text.lower())


def _matches(pattern: str) -> Rule:
    try:
        compiled = re.compile(pattern)
    except re.error as e:
        raise UserError(f"config.rollout.reward: matches:{pattern}: is no regular expression ({e})") from e
    return lambda written: float(compiled.search(written.text) is not None)


def _whole(text: str, rule: str) -> int:
    if not text.strip().isdecimal() or int(text) == 0:
        raise UserError(f"config.rollout.reward: {rule}: expected a whole number above 0, found {text!r}")
    return int(text)


def _characters(text: str) -> Rule:
    wanted = _whole(text, "characters:N")
    return lambda written: max(0.0, 1 - abs(len(written.text) - wanted) / wanted)


def _overlong(text: str) -> Rule:
    most, _, cache = text.partition(":")
    sizes = _whole(most, "overlong:LENGTH:CACHE"), _whole(cache, "overlong:LENGTH:CACHE")
    return lambda written: overlong(written.tokens, *sizes)


RULES: dict[str, Callable[[str], Rule]] = {
    "finished": _finished,  # 1 where the reply ended by itself
    "contains": _contains,  # 1 where it holds a text, whatever its case
    "lacks": _lacks,
    "matches": _matches,  # 1 where a regular expression is found
    "characters": _characters,  # 1 at N characters, less the further it is from them
    "overlong": _overlong,
}
WITH_SETTING = set(RULES) - {"finished"}
RUN = "run:"


def _of_rule(rule: Rule) -> Reward:
    return lambda replies: [rule(written) for written in replies]


def is_program(setting: str) -> bool:
    """Returns true if a setting names a function of a file, which would be run."""
    return any(programs.is_program(part.strip()) for part in setting.split(" | "))


def parse(text: str, of_run: Callable[[str], Model]) -> list[Named]:
    """Returns the rewards that a setting names, with their weights.

    Args:
      text: "NAME" or "WEIGHT*NAME", several with " | " between them.
      of_run: the folder of a reward model -> its reward.

    Raises:
      UserError: there is no such reward, or it cannot be loaded.
    """
    if not text.strip():
        raise UserError(
            f"config.rollout.reward: is empty; name what replies are rewarded for: {', '.join(RULES)}, run:DIR or "
            f"FILE.py:FUNCTION"
        )
    found = [_one(part.strip(), of_run) for part in text.split(" | ")]
    names = [named.name for named in found]
    if len(set(names)) < len(names):
        raise UserError(f"config.rollout.reward={text!r}: names a reward twice; give it one weight")
    return found


def _one(text: str, of_run: Callable[[str], Model]) -> Named:
    weight, name = 1.0, text
    if found := re.fullmatch(r"([-+]?[0-9.]+(?:e[-+]?[0-9]+)?)\*(.+)", text, re.S):
        try:
            weight, name = float(found[1]), found[2]
        except ValueError:
            weight = math.nan
        if not math.isfinite(weight):
            raise UserError(f"config.rollout.reward={text!r}: {found[1]!r} is no weight")
    if name.startswith(RUN):
        return Named(name, weight, *of_run(name.removeprefix(RUN)))
    if programs.is_program(name):
        return Named(name, weight, *programs.load(name, f"config.rollout.reward={name!r}"), on_primary=True)
    rule, _, setting = name.partition(":")
    if rule not in RULES or (rule in WITH_SETTING) != bool(setting):
        known = ", ".join(f"{r}:..." if r in WITH_SETTING else r for r in RULES)
        raise UserError(
            f"config.rollout.reward={name!r}: no such reward; there are {known}, run:DIR and FILE.py:FUNCTION"
        )
    return Named(name, weight, _of_rule(RULES[rule](setting)))


def numbers_of(named: Named, replies: Sequence[Written]) -> list[float | None]:
    """Returns what a reward says of each reply.

    Raises:
      UserError: it is a user's function that fails, or returns anything but a finite number or None for each.
    """
    try:
        said: Any = named.reward(replies)
        if isinstance(said, Iterator):
            said = list(said)
    except UserError:
        raise
    except Exception as e:  # whatever the user's code raises
        raise UserError(f"config.rollout.reward={named.name!r}: {type(e).__name__}: {e}") from e
    try:
        values = [None if x is None else float(x) for x in said]
    except (TypeError, ValueError, OverflowError):
        values = []
    bad = [x for x in values if x is not None and not math.isfinite(x)]
    if len(values) != len(replies) or bad:
        found = f"{bad[0]}" if bad else f"{type(said).__name__} of {len(values)}"
        raise UserError(
            f"config.rollout.reward={named.name!r}: returned {found} for {len(replies)} replies; expected a finite "
            f"number or None for each"
        )
    return values


def total(weights: Sequence[float], said: Sequence[float | None]) -> float | None:
    """Returns the weighted sum; None if one of them cannot say, as sums of other terms could not be compared."""
    known = [w * x for w, x in zip(weights, said, strict=True) if x is not None]
    return sum(known) if len(known) == len(said) else None
