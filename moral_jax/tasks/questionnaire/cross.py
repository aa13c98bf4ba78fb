"""Crosses questions with conditions: every question under every combination, one condition of each axis.

What a tally needs to know of a question goes along in the example's notes, which no model reads.
"""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from moral_jax.tasks import votes
from moral_jax.tasks.questionnaire.conditions import NONE, Condition, Turn
from moral_jax.tasks.questionnaire.labels import Labels
from moral_jax.tasks.questionnaire.questions import Question
from moral_jax.tasks.rows import PLACEHOLDER, described
from moral_jax.types import Example, UserError


class Crossed(NamedTuple):
    """All questions under one combination of conditions."""

    name: str  # "policy=virtue-0; persona=none"; empty where there are no axes
    examples: list[Example]


def _filled(template: str, question: Question, condition: Condition, asked: str) -> str:
    """Returns a condition's text for a row."""
    options = {f"option {i}": option for i, option in enumerate(question.example.options, 1)}
    values = question.variables | options | {"question": asked}

    def value(name: str) -> str:
        if name not in values:
            raise UserError(
                f"{condition.where}: {{{name}}}: row {question.example.id!r} ({question.where}) has no such variable; "
                f"it has {described(list(values))}"
            )
        return values[name]

    return PLACEHOLDER.sub(lambda match: value(match[1]), template)


def _gold(question: Question, condition: Condition) -> int | None:
    """Returns the option that is right for a row under a condition that says so."""
    row, options = question.example.id, question.example.options
    gold = condition.gold
    if isinstance(gold, dict):
        if row not in gold:
            raise UserError(f"{condition.where}: field 'gold': has no row {row!r}; give its option, or null")
        gold = gold[row]
    if gold is None:
        return None
    if gold not in options:
        known = ", ".join(map(repr, options))
        raise UserError(f"{condition.where}: field 'gold': {gold!r} is no option of row {row!r}; it has {known}")
    return options.index(gold)


def _joined(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


def _labelled(question: Question, labels: Labels | None) -> dict[str, list[list[str]]]:
    """Returns column -> labels of each option."""
    if labels is None or not question.tags:
        return {}
    for tag in itertools.chain(*question.tags):
        if tag not in labels.of_tag:
            raise UserError(f"{question.where}: field 'tags': {tag!r} is not in the map; add a line for it")
    return {column: [labels.of(column, list(tags)) for tags in question.tags] for column in labels.columns}


def _with_turns(messages: list[Turn], more: list[Turn]) -> list[Turn]:
    """Returns turns after turns; system messages of several conditions become one, as chat templates take one."""
    if messages and more and messages[-1]["role"] == more[0]["role"] == "system":
        both = _joined(messages[-1]["content"], more[0]["content"])
        return [*messages[:-1], {"role": "system", "content": both}, *more[1:]]
    return [*messages, *more]


def _coverage(question: Question, labels: Labels | None) -> dict[str, list[int]]:
    """Returns column -> how many tags of all options have a label, and how many there are."""
    if labels is None or not question.tags:
        return {}
    of = {c: [labels.covered(c, list(tags)) for tags in question.tags] for c in labels.columns}
    return {column: [sum(n for n, _ in counts), sum(n for _, n in counts)] for column, counts in of.items()}


def example_of(question: Question, conditions: Sequence[Condition], labels: Labels | None) -> Example:
    """Returns a question under some conditions, one of each axis.

    Raises:
      UserError: a condition names a variable that the row has not, words for another number of options, or a gold that
        is no option; or a tag is not in the map.
    """
    plain = question.example
    asked, options, text, gold = plain.question, plain.options, plain.text, question.gold
    messages: list[Turn] = []
    for c in conditions:
        turns = [{"role": t["role"], "content": _filled(t["content"], question, c, asked)} for t in c.messages]
        messages = _with_turns(messages, turns)
        before, after = (_filled(around, question, c, asked) for around in (c.before, c.after))
        text, asked = _joined(before, text, after), _filled(c.question, question, c, asked) or asked
        if c.options and len(c.options) != len(plain.options):
            found = f"found {len(c.options)}, row {plain.id!r} has {len(plain.options)}"
            raise UserError(f"{c.where}: field 'options': {found}; one for each")
        options = tuple(_filled(o, question, c, asked) for o in c.options) or options
        gold = _gold(question, c) if c.has_gold else gold
    name = {c.axis: c.id for c in conditions}
    if len(set(options)) < len(options):
        raise UserError(f"{conditions[-1].where}: field 'options': row {plain.id!r} has two with the same words")
    example = plain._replace(
        id=" ".join([plain.id, *(f"{axis}={value}" for axis, value in name.items() if value != NONE)]),
        question=asked,
        options=options,
        text=text,
        messages=(*messages, *plain.messages),
        positions=votes.positions(options) if plain.positions else (),
    )
    notes = {
        "row": plain.id,
        "condition": name,
        "traits": {c.axis: c.traits for c in conditions if c.traits},
        "tags": [list(tags) for tags in question.tags],
        "labels": _labelled(question, labels),
        "labelled": _coverage(question, labels),
        "gold": gold,
        "reverse": question.reverse,
    }
    notes |= question.notes | ({} if question.has_votes else {"counts": None})
    return example._replace(notes=notes | {"asked": _hash(example, notes)})


def _hash(example: Example, notes: dict[str, Any]) -> str:
    """Returns what changes when anything of the question does: what a model sees, or what tallies read."""
    said: Any = [example.messages, example.question, example.title, example.text, example.options]
    known = {k: v for k, v in notes.items() if k not in ("condition", "traits")}
    counted = [example.counts, example.groups, sorted(known.items(), key=lambda item: item[0])]
    return hashlib.sha256(json.dumps([said, counted]).encode()).hexdigest()[:16]


def cross(
    questions: Sequence[Question], axes: Mapping[str, Sequence[Condition]], labels: Labels | None
) -> list[Crossed]:
    """Returns all questions under every combination of conditions."""
    out = []
    for combination in itertools.product(*axes.values()):
        name = "; ".join(f"{c.axis}={c.id}" for c in combination if c.id != NONE)
        out.append(Crossed(name, [example_of(question, combination, labels) for question in questions]))
    return out
