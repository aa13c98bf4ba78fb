"""Rules that answer without reading: null answers beside every number, and test doubles.

A rule maps a question, as its record has it, and the order in which its options are shown to their shares in that
order. A new one is a function and a row of `RULES`, or of `RULES_OF_FILES` if it follows a file.
"""

import functools
import itertools
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from moral_jax.runs.records import Record
from moral_jax.runtime.files import sha256
from moral_jax.runtime.strict_json import is_number
from moral_jax.types import Example, UserError

Rule = Callable[[Record, Sequence[int]], Sequence[float]]
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
ABSTAINS = re.compile(r"can['’]?t (decide|say|answer)|cannot (decide|say|answer)|don['’]?t know|not sure|refuse", re.I)


class Named(NamedTuple):
    """A rule and what it does, in words."""

    rule: Rule
    description: str
    sha256: str | None = None  # of the file that it follows


def as_record(example: Example) -> Record:
    """Returns what rules read of a question that nobody has answered yet."""
    return {
        "id": example.id,
        "question": example.question,
        "text": example.text,
        "options": list(example.options),
        "positions": list(example.positions),
        "groups": example.groups,
        "messages": list(example.messages),
    } | example.notes


def _all_on(place: int, count: int) -> list[float]:
    return [float(i == place) for i in range(count)]


def _shared(is_best: Sequence[bool]) -> list[float]:
    """Returns equal shares of the options that are best, or of all if none is."""
    ties = sum(is_best)
    return [(best or not ties) / (ties or len(is_best)) for best in is_best]


def _best(values: Sequence[float]) -> list[float]:
    return _shared([value == max(values) for value in values])


def uniform(question: Record, order: Sequence[int]) -> list[float]:
    """Returns equal shares."""
    return [1 / len(order)] * len(order)


def first(question: Record, order: Sequence[int]) -> list[float]:
    """Returns all for the option that is shown first."""
    return _all_on(0, len(order))


def last(question: Record, order: Sequence[int]) -> list[float]:
    """Returns all for the option that is shown last."""
    return _all_on(len(order) - 1, len(order))


def longest(question: Record, order: Sequence[int]) -> list[float]:
    """Returns all for the option of most characters; options that tie share it."""
    return _best([len(question["options"][i]) for i in order])


def number(question: Record, order: Sequence[int]) -> list[float]:
    """Returns all for the option that names the largest number; options that tie share it."""
    found = [[float(n.replace(",", "")) for n in NUMBER.findall(question["options"][i])] for i in order]
    return _best([max(numbers, default=-math.inf) for numbers in found])


def constant(question: Record, order: Sequence[int]) -> list[float]:
    """Returns all for the data's first option, wherever it is shown."""
    return _shared([i == 0 for i in order])


def obey(question: Record, order: Sequence[int]) -> list[float]:
    """Returns all for the option that the condition or the row calls right, or else for the data's first one."""
    gold = question.get("gold")
    return _shared([i == (0 if gold is None else gold) for i in order])


def cave(question: Record, order: Sequence[int]) -> list[float]:
    """Returns all for the data's first option, and for its last one once an answer was talked back to."""
    pressed = any(turn["role"] == "assistant" for turn in question.get("messages", ()))
    return _shared([i == (len(order) - 1 if pressed else 0) for i in order])


def refuse(question: Record, order: Sequence[int]) -> list[float]:
    """Returns all for options that decide nothing; equal shares where there is none."""
    return _shared([bool(ABSTAINS.search(question["options"][i])) for i in order])


def _number(values: Mapping[str, Any], name: str, rule: str) -> float:
    if not is_number(values[name]):
        raise UserError(f"scripted:{rule}: the file has {values[name]!r} for {name!r}; expected a finite number")
    return float(values[name])


def _of_condition(values: Mapping[str, Any], question: Record) -> Mapping[str, Any]:
    """Returns what a file says for a question's condition, under "AXIS=ID", over what it says for all."""
    named = [values.get(f"{axis}={name}") for axis, name in question.get("condition", {}).items()]
    return functools.reduce(lambda all_, own: {**all_, **own}, [v for v in named if isinstance(v, dict)], dict(values))


def leaning(values: Mapping[str, Any], question: Record, order: Sequence[int]) -> list[float]:
    """Returns what the file says of the row: an option, or an object option -> share."""
    row = str(question.get("row", question["id"]))
    said = _of_condition(values, question).get(row)
    options = question["options"]
    if isinstance(said, str):
        said = {said: 1.0}
    shares = said if isinstance(said, dict) and all(map(is_number, said.values())) else {}
    if not set(shares) <= set(options) or min(shares.values(), default=-1) < 0 or sum(shares.values()) <= 0:
        raise UserError(
            f"scripted:leaning: the file says {said!r} of row {row!r}; expected one of {options}, or shares"
        )
    return [float(shares.get(options[i], 0.0)) for i in order]


def tags(values: Mapping[str, Any], question: Record, order: Sequence[int]) -> list[float]:
    """Returns all for the option whose tags weigh most; options that tie share it."""
    weights, of_options = _of_condition(values, question), question.get("tags")
    if not of_options:
        return uniform(question, order)
    return _best([sum(_number(weights, tag, "tags") for tag in of_options[i] if tag in weights) for i in order])


def utility(values: Mapping[str, Any], question: Record, order: Sequence[int]) -> list[float]:
    """Returns shares proportional to the exponential of the options' utilities; equal ones where the words were changed
    on the axis "floor", as who goes by the words knows none of them."""
    options, values = question["options"], _of_condition(values, question)
    if question.get("condition", {}).get("floor", "none") != "none":
        return uniform(question, order)
    if missing := [o for o in options if o not in values]:
        raise UserError(f"scripted:utility: the file has no utility of {missing[0]!r}")
    utilities = [_number(values, o, "utility") for o in options]
    weights = [math.exp(utilities[i] - max(utilities)) for i in order]
    return [w / sum(weights) for w in weights]


def scale(values: Mapping[str, Any], question: Record, order: Sequence[int]) -> list[float]:
    """Returns shares of two neighbouring points of a scale whose mean the file gives, by row, group or "all"."""
    points = question.get("positions") or list(range(1, len(order) + 1))
    known = _of_condition(values, question)
    names = [question.get("row", question["id"]), *question.get("groups", {}).values(), "all"]
    mean = next((known[name] for name in names if is_number(known.get(name))), None)
    if mean is None:
        raise UserError(f"scripted:scale: the file gives no mean for any of {names}")
    turns = question.get("reverse") and question.get("condition", {}).get("form", "likelihood") == "likelihood"
    mean = min(max(min(points) + max(points) - mean if turns else mean, min(points)), max(points))
    shares = dict.fromkeys(range(len(points)), 0.0)
    by_place = sorted(range(len(points)), key=lambda i: points[i])
    for low, high in itertools.pairwise(by_place):
        if points[low] <= mean <= points[high]:
            upper = (mean - points[low]) / (points[high] - points[low])
            shares |= {low: 1 - upper, high: upper}
            break
    return [shares[i] for i in order]


RULES: dict[str, Named] = {
    "uniform": Named(uniform, "gives all options equal shares"),
    "first": Named(first, "always takes the option that is shown first"),
    "last": Named(last, "always takes the option that is shown last"),
    "longest": Named(longest, "always takes the option of most characters"),
    "number": Named(number, "always takes the option with the largest number"),
    "constant": Named(constant, "always takes the data's first option, wherever it is shown"),
    "obey": Named(obey, "takes the option that the condition or the row calls right, or else the data's first one"),
    "cave": Named(cave, "takes the first option of the data, and the last one once it was talked back to"),
    "refuse": Named(refuse, "takes an option such as can't decide"),
}
RULES_OF_FILES: dict[str, tuple[Callable[..., Sequence[float]], str]] = {
    "leaning": (leaning, "takes what a file says of each row"),
    "tags": (tags, "takes the option whose tags weigh most in a file"),
    "utility": (utility, "chooses by the options' utilities in a file"),
    "scale": (scale, "rates with the mean that a file gives for each row or group"),
}


def names() -> list[str]:
    """Returns the names of all rules, as they are asked for."""
    return [*RULES, *(f"{name}?file=FILE" for name in RULES_OF_FILES)]


def get(name: str) -> Named:
    """Returns a rule by name: NAME, or NAME?file=FILE with a JSON object.

    Raises:
      UserError: there is no such rule, or its file is no JSON object.
    """
    rule, _, argument = name.partition("?")
    if rule in RULES and not argument:
        return RULES[rule]
    if rule not in RULES_OF_FILES or not argument.startswith("file="):
        raise UserError(f"scripted:{name}: no such scripted respondent; there are {', '.join(names())}")
    path = argument.removeprefix("file=")
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise UserError(f"scripted:{name}: {path}: cannot be read as JSON ({e})") from e
    if not isinstance(values, dict):
        raise UserError(f"scripted:{name}: {path}: expected a JSON object")
    of_file, description = RULES_OF_FILES[rule]
    return Named(functools.partial(of_file, values), description, sha256(Path(path)))
