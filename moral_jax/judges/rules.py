"""Rules on a single text: what it holds, how long it is, why it is over."""

import re
from collections.abc import Callable

from moral_jax.judges.base import Judging, Written
from moral_jax.types import UserError

Rule = Callable[[Written], float | None]


def judging(rule: Rule) -> Judging:
    """Returns the rule as a judge asks it."""
    return lambda replies: [rule(written) for written in replies]


def overlong(length: int, most: int, cache: int) -> float:
    """Returns DAPO's soft penalty of long texts (arXiv 2503.14476): 0 up to most - cache tokens, -1 from `most` on."""
    return min(0.0, max(-1.0, (most - cache - length) / cache))


def finished(_: str, __: str) -> Rule:
    """Returns the rule: 1 where the reply ended by itself."""
    return lambda written: float(written.reason != "length") if written.reason else None


def contains(text: str, _: str) -> Rule:
    """Returns the rule: 1 where the reply holds a text, whatever its case."""
    return lambda written: float(text.lower() in written.text.lower())


def lacks(text: str, _: str) -> Rule:
    """Returns the rule: 1 where the reply does not hold a text."""
    return lambda written: float(text.lower() not in written.text.lower())


def matches(pattern: str, place: str) -> Rule:
    """Returns the rule: 1 where a regular expression is found."""
    try:
        compiled = re.compile(pattern)
    except re.error as e:
        raise UserError(f"{place}: matches:{pattern}: is no regular expression ({e})") from e
    return lambda written: float(compiled.search(written.text) is not None)


def _whole(text: str, rule: str, place: str) -> int:
    if not text.strip().isdecimal() or int(text) == 0:
        raise UserError(f"{place}: {rule}: expected a whole number above 0, found {text!r}")
    return int(text)


def characters(text: str, place: str) -> Rule:
    """Returns the rule: 1 at N characters, less the further it is from them."""
    wanted = _whole(text, "characters:N", place)
    return lambda written: max(0.0, 1 - abs(len(written.text) - wanted) / wanted)


def overlong_by(text: str, place: str) -> Rule:
    """Returns the rule of `overlong`, for a setting LENGTH:CACHE."""
    most, _, cache = text.partition(":")
    sizes = _whole(most, "overlong:LENGTH:CACHE", place), _whole(cache, "overlong:LENGTH:CACHE", place)
    return lambda written: None if written.tokens is None else overlong(written.tokens, *sizes)


def target(_: str, __: str) -> Rule:
    """Returns the rule: 1 where the reply holds one of the texts that its row names as `target`; None without any."""

    def rule(written: Written) -> float | None:
        targets = written.example.notes.get("target") or []
        said = written.text.lower()
        return float(any(text.lower() in said for text in targets)) if targets else None

    return rule
