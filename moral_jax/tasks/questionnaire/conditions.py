"""Reads conditions.jsonl: what is crossed with every row.

A condition is a system prompt, a policy, a persona, an attack, a locale, a wording: turns before the question, words
around the text, another question or other words for the options. On every axis there is "none", which changes nothing.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from moral_jax.runtime import strict_json
from moral_jax.tasks import votes
from moral_jax.tasks.questionnaire.folder import Axis, Folder
from moral_jax.tasks.rows import Row, described
from moral_jax.types import UserError

FIELDS = ("id", "axis", "messages", "before", "after", "question", "options", "gold", "traits")
NONE = "none"
Turn = dict[str, str]


class Condition(NamedTuple):
    """One condition. Texts may name {variables} of the row, {question} and {option 1}, {option 2} ..."""

    id: str
    axis: str
    where: str = ""
    messages: tuple[Turn, ...] = ()
    before: str = ""
    after: str = ""
    question: str = ""
    options: tuple[str, ...] = ()
    gold: Any = None  # an option, or an object row -> option or null
    has_gold: bool = False
    traits: dict[str, str] = {}


def _text(row: Row, field: str) -> str:
    return "" if row.get(field) is None else row.text(field)


def _gold(row: Row) -> Any:
    gold = row.get("gold")
    of_rows = isinstance(gold, dict) and all(v is None or isinstance(v, str) for v in gold.values())
    if gold is not None and not isinstance(gold, str) and not of_rows:
        raise row.error("gold", gold, "an option, or an object row -> option or null")
    return gold


def _condition(row: Row) -> Condition:
    name, axis = row.only(FIELDS).text("id"), row.text("axis")
    for field, value in (("id", name), ("axis", axis)):
        if set(value) & set("=,;"):
            raise row.error(field, value, "a name without '=', ',' and ';'")
    if name == NONE:
        raise row.error("id", name, f"another name: {NONE!r} is there on every axis, and changes nothing")
    options, traits = row.get("options"), row.get("traits") or {}
    if options is not None and not (isinstance(options, list) and all(isinstance(o, str) and o for o in options)):
        raise row.error("options", options, "a list of texts, one for each option of the rows")
    if not isinstance(traits, dict) or not all(isinstance(v, str) for v in traits.values()):
        raise row.error("traits", traits, "an object of texts")
    return Condition(
        name,
        axis,
        row.where,
        votes.messages_of(row, "messages"),
        _text(row, "before"),
        _text(row, "after"),
        _text(row, "question"),
        tuple(options or ()),
        _gold(row),
        "gold" in row.values,
        traits,
    )


def read(task: Folder) -> dict[str, dict[str, Condition]]:
    """Returns the conditions of a questionnaire: axis -> id -> condition, "none" first where it is asked.

    Raises:
      UserError: a field is unknown or wrong, a condition comes twice, or task.toml has an axis without conditions.
    """
    axes: dict[str, dict[str, Condition]] = {}
    paths = sorted(task.path.glob(task.conditions)) if task.conditions else []
    if not paths and task.conditions not in ("", Folder.conditions):
        raise UserError(f"{task.path}/task.toml: conditions: {task.conditions!r} is no file in the folder")
    for path in paths:
        for where, values in strict_json.read_lines(path):
            found = _condition(Row(values, where))
            of_axis = axes.setdefault(found.axis, {})
            if found.id in of_axis:
                first = of_axis[found.id].where
                raise UserError(f"{where}: condition {found.axis}={found.id} stands in {first} already; names differ")
            of_axis[found.id] = found
    if unknown := [axis for axis in task.axes if axis not in axes]:
        raise UserError(f"{task.path}/task.toml: axes.{unknown[0]}: no condition is of this axis")
    none_of = {axis: {NONE: Condition(NONE, axis)} if task.axes.get(axis, Axis()).none else {} for axis in axes}
    return {axis: none_of[axis] | of_axis for axis, of_axis in axes.items()}


def choose(
    axes: Mapping[str, Mapping[str, Condition]], task: Folder, chosen: Mapping[str, list[str]]
) -> dict[str, list[Condition]]:
    """Returns the conditions of each axis that are asked.

    Args:
      chosen: axis -> ids, as --condition names them; of other axes all, or those that task.toml names.

    Raises:
      UserError: there is no such axis or condition.
    """
    if unknown := [axis for axis in chosen if axis not in axes]:
        raise UserError(f"--condition={unknown[0]}=...: no such axis; there are {', '.join(axes) or 'none'}")
    out = {}
    for axis, of_axis in axes.items():
        names = chosen.get(axis) or list(task.axes.get(axis, Axis()).asked) or list(of_axis)
        if unknown := [name for name in names if name not in of_axis]:
            raise UserError(f"condition {axis}={unknown[0]}: there is none; there are {described(list(of_axis))}")
        out[axis] = [of_axis[name] for name in dict.fromkeys(names)]
    return out
