"""Reads the multiple-choice file of TruthfulQA: each question once with one true answer (MC1), and once with several
(MC2). The categories stand in another file of the same authors, TruthfulQA.csv, which `task.items_path` names.
"""

from collections.abc import Iterable, Iterator

from moral_jax.config.task import TaskConfig
from moral_jax.runtime.files import expanded
from moral_jax.tasks import tables
from moral_jax.tasks.rows import Columns, Row
from moral_jax.types import Example, UserError

SETS = {"mc1_targets": "MC1", "mc2_targets": "MC2"}
SET, CATEGORY = "set", "category"  # names of the groups of a question


def examples(row: Row, config: TaskConfig) -> list[Example]:
    """Returns the questions of one row: its answers are the options, and the true ones have the votes.

    Raises:
      UserError: a set of answers is missing or has none that is true; names file, line and field.
    """
    del config
    question = row.text("question")
    category = row.get(CATEGORY)
    of_row = {CATEGORY: str(category)} if category else {}
    out = []
    for field, name in SETS.items():
        answers = row.get(field)
        if not isinstance(answers, dict) or len(answers) < 2:
            raise row.error(field, answers, "an object of at least two answers: answer -> 1 (true) or 0")
        options = tuple(row.clean(field, answer) for answer in answers)
        counts = row.votes(field, answers.values())
        groups, id_ = {SET: name} | of_row, f"{name} {question}"
        out.append(Example(id_, question, options, counts, keys=(question,), groups=groups, exchangeable=True))
    return out


def with_categories(rows: Iterable[Row | UserError], config: TaskConfig) -> Iterator[Row | UserError]:
    """Yields the rows with their category, where there is a file of them; a few questions were reworded since."""
    categories: dict[str, str] = {}
    if config.items_path:
        for item in tables.rows(expanded(config.items_path), Columns()):
            if isinstance(item, UserError):
                raise item
            categories[item.text("Question").strip()] = item.text("Category")
    for row in rows:
        if isinstance(row, UserError):
            yield row
            continue
        category = categories.get(str(row.get("question")).strip())
        yield row.having({CATEGORY: category}) if category else row
