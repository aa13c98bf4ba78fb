"""Describes a data set before any run: rows, options, votes, groups, what rows share, and duplicates."""

import itertools
import statistics
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from moral_jax.config import Config
from moral_jax.tasks.load import BAD, SHARED_KEY, Dataset, question_of
from moral_jax.types import Example

SHOWN = 10  # names in a list
BAR = 40
Split = dict[str, Sequence[Example]]


def folded(text: str) -> str:
    """Returns a text without case, accents, punctuation, digits and blanks: near duplicates become equal."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in letters if unicodedata.category(c)[0] == "L") or text


def _near(example: Example) -> tuple:
    return (*map(folded, (example.question, example.title, example.text)), tuple(map(folded, example.options)))


def _twins(names: Iterable[Any]) -> int:
    """Returns how many of some names stand elsewhere among them too."""
    return sum(n for n in Counter(names).values() if n > 1)


def duplicates(splits: Split) -> dict[str, int]:
    """Returns how many rows ask what another row asks, word for word or nearly; in all, and of the test rows in train.

    Near duplicates differ in case, accents, punctuation, digits and blanks alone.
    """
    exact = {name: list(map(question_of, side)) for name, side in splits.items()}
    near = {name: list(map(_near, side)) for name, side in splits.items()}
    return {
        "exact": _twins(itertools.chain(*exact.values())),
        "near": _twins(itertools.chain(*near.values())),
        "test rows asked in train": _both(exact),
        "test rows nearly asked in train": _both(near),
    }


def _both(names: dict[str, list[tuple]]) -> int:
    """Returns how many test rows have a name that a training row has too."""
    train = set(names["train"])
    return sum(name in train for name in names["test"])


def _most(counter: Counter) -> dict[str, int]:
    return dict(counter.most_common(SHOWN))


def _summary(values: Sequence[float]) -> dict[str, float]:
    return {"least": min(values), "median": statistics.median(values), "most": max(values)}


def describe(data: Dataset) -> dict[str, Any]:
    """Returns what stands in a data set, as JSON: counts by name, histograms, and what was left out."""
    splits: Split = {"train": data.train, "validation": data.validation, "test": data.test}
    rows = [e for side in splits.values() for e in side]
    votes = [sum(e.counts) for e in rows]
    agreement = Counter(min(int(10 * max(e.counts) / sum(e.counts)), 9) for e in rows)
    options = Counter(e.options for e in rows)
    keys = Counter(key for e in rows for key in e.keys)
    groups = {name: Counter(e.groups[name] for e in rows if name in e.groups) for e in rows for name in e.groups}
    return {
        "description": data.provenance["description"],
        "licence": data.provenance["licence"],
        "files": data.provenance["files"],
        "rows": {name: len(side) for name, side in splits.items()},
        "left out": {name: data.provenance.get(name, 0) for name in (BAD, SHARED_KEY)},
        "options per row": {str(n): count for n, count in sorted(Counter(len(e.options) for e in rows).items())},
        "options": {" | ".join(o): n for o, n in options.most_common(SHOWN)} if len(options) <= SHOWN else {},
        "ordinal scale": bool(rows[0].positions),
        "votes per row": _summary(votes),
        "rows with fractions of votes": sum(any(c % 1 for c in e.counts) for e in rows),
        "rows by share of the plurality": {
            f"{10 * i}-{10 * i + 10} %": agreement[i] for i in range(10) if agreement[i]
        },
        "rows with a second panel": sum(e.second_counts is not None for e in rows),
        "groups": {name: _most(counter) for name, counter in groups.items()},
        "rows that share a key with others": sum(any(keys[key] > 1 for key in e.keys) for e in rows),
        "most rows of a key": max(keys.values(), default=0),
        "duplicates": duplicates(splits),
    }


def warnings(about: dict[str, Any], config: Config) -> list[str]:
    """Returns what should be looked at before a run, with its remedy."""
    found, twins = [], about["duplicates"]
    if count := twins["test rows asked in train"]:
        found.append(f"{count} test rows are asked in train too: name what they share in config.task.fields.key")
    elif count := twins["test rows nearly asked in train"]:
        found.append(f"{count} test rows are nearly asked in train too: name what they share in config.task.fields.key")
    if count := about["left out"][BAD]:
        found.append(f"{count} bad rows are left out (config.task.on_bad_row={config.task.on_bad_row})")
    if missing := [name for name, rows in about["rows"].items() if not rows and not config.task.test_only]:
        found.append(f"no rows in {' and '.join(missing)}: see config.task.validation, test and limit")
    return found


def _histogram(counts: dict[str, int]) -> list[str]:
    most, wide = max(counts.values()), max(map(len, counts))
    return [f"  {name:>{wide}}  {'█' * max(1, round(BAR * n / most))} {n}" for name, n in counts.items()]


def _names(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items())


def text_of(about: dict[str, Any], shown: list[dict[str, Any]]) -> str:
    """Returns the description for a terminal."""
    left = {name: n for name, n in about["left out"].items() if n}
    votes, twins = about["votes per row"], about["duplicates"]
    lines = [
        f"{about['description']} (licence: {about['licence']})",
        f"rows: {_names(about['rows'])}" + (f"; {_names(left)}" if left else ""),
        f"options per row: {_names(about['options per row'])}" + (" (ordinal scale)" if about["ordinal scale"] else ""),
        *(f"  {options}: {n} rows" for options, n in about["options"].items()),
        f"votes per row: {votes['least']:g} to {votes['most']:g}, median {votes['median']:g}; "
        f"{about['rows with fractions of votes']} rows with fractions, {about['rows with a second panel']} with a "
        f"second panel",
        "share of votes on the most chosen option:",
        *_histogram(about["rows by share of the plurality"]),
        *(f"group {name}: {_names(counts)}" for name, counts in about["groups"].items()),
        f"keys: {about['rows that share a key with others']} rows share one with others, at most "
        f"{about['most rows of a key']} rows the same",
        f"duplicates: {_names(twins)}",
    ]
    for one in shown:
        cut = ", cut to fit" if one["cut"] else ""
        lines.append(f"\nprompt of row {one['id']!r}, {' and '.join(map(str, one['tokens']))} tokens{cut}:")
        lines += [f"┃ {line}" for prompt in one["prompts"] for line in prompt.split("\n")]
        lines += [f"  read from {token}: {option}" for option, token in one["options"].items()]
    return "\n".join(lines)
