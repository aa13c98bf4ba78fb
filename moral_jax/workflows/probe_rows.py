"""Reads what is probed: rows, their labels, and what they share."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from moral_jax.analysis.probe import control
from moral_jax.analysis.probe.subject import Rows
from moral_jax.config.task import TaskConfig
from moral_jax.runtime import console
from moral_jax.runtime.files import expanded
from moral_jax.tasks.questionnaire import conditions, cross, folder, questions
from moral_jax.tasks.questionnaire.folder import Folder, TableFields
from moral_jax.tasks.questionnaire.questions import Question
from moral_jax.tasks.rows import described
from moral_jax.types import Example, UserError

GOLD, VOTES = "gold", "votes"  # labels that rows have without a field: the right option, the one with most votes
MOST_CLASSES = 10


class Probing(NamedTuple):
    """Rows that are read, and the label that is looked for."""

    folder: Folder
    examples: list[Example]
    label: str
    rows: Rows
    left_out: int  # rows without a label


def _found(name: str, config: TaskConfig | None, limit: int | None) -> tuple[Folder, list[Question]]:
    """Returns the questions of a folder, a shipped one, or a file, and how they are asked.

    Args:
      config: how a file is read whose columns are its own; None: as the rows of a questionnaire.
    """
    if not expanded(name).is_file():
        task = folder.read(name)
        folder.only_asked(task, name)
        return task, questions.read(task)[:limit]
    task = Folder(Path(name).with_suffix(""), title=Path(name).name)
    if config is not None:
        task = Folder(task.path, title=task.title, scale=config.scale, votes=config.fields, fields=TableFields())
    return task, questions.read(task, name)[:limit]


def _most_votes(question: Question) -> int | None:
    """Returns the option with most votes; None where nobody voted, or two have as many."""
    counts = question.example.counts
    tied = [i for i, votes in enumerate(counts) if votes == max(counts)]
    return tied[0] if question.has_votes and len(tied) == 1 else None


def _gold(question: Question, example: Example) -> int | None:
    """Returns the option that is right, else the one with most votes."""
    gold = example.notes["gold"]
    return _most_votes(question) if gold is None else int(gold)


def _labels(asked: list[tuple[Question, Example]], field: str | None) -> tuple[str, list[str | None]]:
    """Returns what the label is, and that of each row.

    Raises:
      UserError: no row has it.
    """
    if field is None or field == GOLD:
        golds = [_gold(q, e) for q, e in asked]
        texts = [None if gold is None else q.example.options[gold] for (q, _), gold in zip(asked, golds, strict=True)]
        name = GOLD if any(e.notes["gold"] is not None for _, e in asked) else VOTES
        if not any(text is not None for text in texts):
            raise UserError("no row has a right option or votes to be its label; name a field: --label=FIELD")
        return name, texts
    of_rows = [q.variables | e.groups | e.notes["condition"] for q, e in asked]
    if not any(field in values for values in of_rows):
        known = dict.fromkeys(name for values in of_rows for name in values)
        raise UserError(f"--label={field}: no such variable, group or axis; there are {described([GOLD, *known])}")
    return field, [values.get(field) for values in of_rows]


def _groups(keys: list[tuple[str, ...]]) -> np.ndarray:
    """Returns a number for each row; rows that share a key, also by way of others, have the same one."""
    place = {key: i for i, key in enumerate(dict.fromkeys(key for of_row in keys for key in of_row))}
    pairs = [(row, place[key]) for row, of_row in enumerate(keys) for key in of_row]
    row_P, key_P = np.array(pairs).T
    size = len(keys) + len(place)
    graph = sparse.coo_array((np.ones(len(pairs)), (row_P, len(keys) + key_P)), shape=(size, size))
    _, component = csgraph.connected_components(graph.tocsr(), directed=False)
    return np.unique(component[: len(keys)], return_inverse=True)[1]


def _words(example: Example) -> list[str]:
    """Returns the words of all that is shown."""
    said: Iterable[str] = [turn["content"] for turn in example.messages]
    return control.words_of(" ".join([*said, example.title, example.text, example.question, *example.options]))


def read(
    name: str, chosen: Mapping[str, list[str]], config: TaskConfig | None, label: str | None, limit: int | None
) -> Probing:
    """Reads and checks what is probed.

    Args:
      name: a folder, the name of a shipped one, or a file of rows.
      chosen: the conditions that are asked, by axis.
      config: how a file is read whose columns are its own.
      label: a field; default: the right option, or that with most votes.
      limit: so many rows only.

    Raises:
      UserError: anything is wrong with rows or label; says what.
    """
    task, found = _found(name, config, limit)
    axes = conditions.choose(conditions.read(task) if task.path.is_dir() else {}, task, chosen)
    parts = cross.cross(found, axes, None)
    asked = [(q, e) for part in parts for q, e in zip(found, part.examples, strict=True)]
    named, labels = _labels(asked, label)
    kept = [(q, e, text) for (q, e), text in zip(asked, labels, strict=True) if text is not None]
    if left := len(asked) - len(kept):
        console.info(f"left out: {left} of {len(asked)} rows, which have no label {named!r}")
    classes = sorted({text for *_, text in kept})
    if not 2 <= len(classes) <= MOST_CLASSES:
        shown = described(classes[: MOST_CLASSES + 1])
        raise UserError(
            f"label {named!r} has {len(classes)} values in these rows ({shown}); expected 2 to {MOST_CLASSES}; name "
            f"another field: --label=FIELD"
        )
    examples = [e for _, e, _ in kept]
    golds = [_gold(q, e) for q, e, _ in kept]
    rows = Rows(
        labels_E=np.array([classes.index(text) for *_, text in kept]),
        classes=classes,
        gold_E=np.array([-1 if gold is None else gold for gold in golds]),
        groups_E=_groups([(*e.keys, f"row {e.notes['row']}") for e in examples]),
        words=[_words(e) for e in examples],
    )
    return Probing(task, examples, named, rows, left)
