"""Values, rights and duties in situations (Value Kaleidoscope, arXiv 2309.00779): four tasks on one file of rows.

    {"situation": "Reading a friend's diary", "kind": "Right", "text": "Right to privacy",
     "relevant": [9, 1], "valence": [0, 9, 1], "explanation": "A diary is written for nobody else."}

`relevant` holds votes on Yes and No, `valence` on Supports, Opposes and Either; counts or shares. A row without one of
them asks no such question. Rows on one situation share a key. The prompts are the paper's own, word for word.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from moral_jax.config.task import TaskConfig
from moral_jax.runtime.files import expanded
from moral_jax.runtime.strict_json import is_number, shown
from moral_jax.tasks import tables
from moral_jax.tasks.rows import Columns, Row
from moral_jax.types import Example, UserError

FIELDS = ("id", "situation", "kind", "text", "relevant", "valence", "explanation")
KINDS = ("Value", "Right", "Duty")
RELEVANCE, VALENCE, GENERATION, EXPLANATION = "Relevance", "Valence", "Generate", "Explanation"
SOURCES = {RELEVANCE: "relevance", VALENCE: "valence", GENERATION: "generation", EXPLANATION: "explanation"}
OPTIONS = {RELEVANCE: ("Yes", "No"), VALENCE: ("Supports", "Opposes", "Either")}


class Value(NamedTuple):
    """A value, right or duty."""

    kind: str
    text: str


def prompt(task: str, situation: str, value: Value | None = None) -> str:
    """Returns what a model is asked: of a situation alone, or of a value in it."""
    return f"[{task}]:\tSituation: {situation}" + (f"\t{value.kind}: {value.text}" if value else "")


def parsed(line: str) -> Value | None:
    """Returns the value of "Value: Honesty"; None for a line that is no value.

    It is split at the first ": ", and keeps the others: the reference cuts a text there.
    """
    kind, colon, text = line.strip().partition(": ")
    return Value(kind, text.strip()) if colon and kind in KINDS and text.strip() else None


def asked(task: str, situation: str, value: Value, name: str) -> Example:
    """Returns the question whether a value is relevant to a situation, or whether it supports or opposes it."""
    options = OPTIONS[task]
    notes = {"tags": [[f"{value.text}: {option}"] for option in options], "row": f"{task}: {value.text}"}
    return Example(
        name, prompt(task, situation, value), options, (1.0,) * len(options),
        source=SOURCES[task], groups={"kind": value.kind}, notes=notes,
    )  # fmt: skip


def opening(situation: str, name: str) -> Example:
    """Returns the prompt that values of a situation follow."""
    return _text(GENERATION, name, situation, None, "")


def explanation(situation: str, value: Value, name: str) -> Example:
    """Returns the prompt that an explanation of a value follows."""
    return _text(EXPLANATION, name, situation, value, "")


def _text(task: str, name: str, situation: str, value: Value | None, said: str) -> Example:
    text = f"{prompt(task, situation, value)}\nAnswer:"
    return Example(name, "", (f" {said}" if said else "",), (1.0,), text=text, source=SOURCES[task], exchangeable=True)


def value_of(row: Row) -> tuple[str, Value]:
    """Returns the situation and the value of a row.

    Raises:
      UserError: one is missing, or of no known kind; names file, line and field.
    """
    row.only(FIELDS)
    situation, kind = " ".join(row.text("situation").split()), row.text("kind")
    if kind not in KINDS:
        raise row.error("kind", kind, f"one of {', '.join(KINDS)}")
    return situation, Value(kind, " ".join(row.text("text").split()))


def _is_relevant(row: Row) -> bool:
    """Returns true unless most say that the value has nothing to do with the situation."""
    if row.get("relevant") is None:
        return True
    yes, no = row.votes("relevant", row.items("relevant", 2))
    return yes >= no


def _of_row(row: Row, config: TaskConfig, task: str) -> Iterator[Example]:
    situation, value = value_of(row)
    name = str(row.get("id") or f"{situation}; {value.kind}: {value.text}")
    found: Example | None = None
    if task in OPTIONS:
        field = {RELEVANCE: "relevant", VALENCE: "valence"}[task]
        if row.get(field) is not None:
            counts = row.votes(field, row.items(field, len(OPTIONS[task])))
            found = asked(task, situation, value, name)._replace(counts=counts, notes={})
    elif task == GENERATION and _is_relevant(row):
        found = _text(task, name, situation, None, f"{value.kind}: {value.text}")
    elif task == EXPLANATION and row.get("explanation") is not None:
        found = _text(task, name, situation, value, row.text("explanation"))
    if found:
        yield found._replace(keys=(f"situation {situation}",), source="")


Reader = Callable[[Row, TaskConfig], list[Example]]


def _reader(task: str) -> Reader:
    return lambda row, config: list(_of_row(row, config, task))


TASKS: dict[str, tuple[Reader, str, Literal["votes", "texts"]]] = {
    "kaleido_relevance": (_reader(RELEVANCE), "is a value relevant", "votes"),
    "kaleido_valence": (_reader(VALENCE), "does a value support or oppose what is done", "votes"),
    "kaleido_generation": (_reader(GENERATION), "values that are relevant, as texts", "texts"),
    "kaleido_explanation": (_reader(EXPLANATION), "why a value is relevant, as texts", "texts"),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """[settings] of a task.toml: what is dropped, and how candidates are written. All are needed."""

    relevance: Mapping[str, float]  # by kind
    rouge: float
    cosine: float
    candidates: int
    max_tokens: int
    temperature: float
    encoder: str  # where the model is that reads sentences as vectors; "" compares words only


def settings(given: Mapping[str, Any], where: str) -> Settings:
    """Returns the settings of a folder.

    Raises:
      UserError: one is missing, unknown or out of range; names file and key.
    """

    def is_share(value: Any) -> bool:
        return is_number(value) and 0 <= value <= 1

    def is_count(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 1

    expected: dict[str, tuple[str, Callable[[Any], bool]]] = {
        "relevance": (
            f"a share of each of {', '.join(KINDS)}",
            lambda value: isinstance(value, dict) and set(value) == set(KINDS) and all(map(is_share, value.values())),
        ),
        "rouge": ("a number from 0 to 1", is_share),
        "cosine": ("a number from 0 to 1", is_share),
        "candidates": ("a whole number from 1", is_count),
        "max_tokens": ("a whole number from 1", is_count),
        "temperature": ("a number above 0", lambda value: is_number(value) and value > 0),
        "encoder": ("a text", lambda value: isinstance(value, str)),
    }
    if unknown := [key for key in given if key not in expected]:
        raise UserError(f"{where}: settings.{unknown[0]}: no such key; there are {', '.join(expected)}")
    for key, (words, is_right) in expected.items():
        if key not in given or not is_right(given[key]):
            raise UserError(f"{where}: settings.{key}: found {shown(given.get(key))}, expected {words}")
    return Settings(**given)


def read_values(path: str) -> list[tuple[str | None, Value]]:
    """Returns the values of a table with columns kind and text, and the situation that each is of; None: of all.

    Raises:
      UserError: it cannot be read, a row is no value, or there is none; names file, line and field.
    """
    found: list[tuple[str | None, Value]] = []
    for row in tables.rows(expanded(path), Columns()):
        if isinstance(row, UserError):
            raise row
        is_of_one = row.get("situation") is not None
        situation, value = value_of(row if is_of_one else row.having({"situation": "any"}))
        found.append((situation if is_of_one else None, value))
    if not found:
        raise UserError(f"{path}: holds no values")
    return found


class Labelled(NamedTuple):
    """A value in a situation, and whether people call it relevant; None where nobody was asked."""

    situation: str
    value: Value
    is_relevant: bool | None


def read_labelled(path: str) -> list[Labelled]:
    """Returns the values of a file of rows, with the side on which most votes on relevance are.

    Raises:
      UserError: as of `read_values`.
    """
    found = []
    for row in tables.rows(expanded(path), Columns()):
        if isinstance(row, UserError):
            raise row
        has_votes = row.get("relevant") is not None
        found.append(Labelled(*value_of(row), _is_relevant(row) if has_votes else None))
    if not found:
        raise UserError(f"{path}: holds no rows")
    return found
