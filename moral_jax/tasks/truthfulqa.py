"""Reads the multiple-choice file of TruthfulQA: each question once with one true answer, and once with several."""

from moral_jax.config.task import TaskConfig
from moral_jax.tasks.rows import Row, filled
from moral_jax.types import Example

SETS = {"mc1_targets": "MC1", "mc2_targets": "MC2"}
CATEGORY = "category"


def examples(row: Row, config: TaskConfig) -> list[Example]:
    """Returns the questions of one row: its answers are the options, and the true ones have the votes.

    Raises:
      UserError: a set of answers is missing or has none that is true; names file, line and field.
    """
    question = row.text("question")
    of_row = {CATEGORY: c} if (c := filled(row, config.fields.group)) else {}
    out = []
    for field, name in SETS.items():
        answers = row.get(field)
        if not isinstance(answers, dict) or len(answers) < 2:
            raise row.error(field, answers, "an object of at least two answers: answer -> 1 (true) or 0")
        options = tuple(row.clean(field, answer) for answer in answers)
        counts = row.votes(field, answers.values())
        groups = {"set": name, **{f"{name} by {key}": value for key, value in of_row.items()}}
        out.append(Example(f"{name} {question}", question, options, counts, keys=(question,), groups=groups))
    return out
