"""Questions beside the pairs: money now or later, and open questions whose answers are compared in pairs too."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from moral_jax.runtime import strict_json
from moral_jax.tasks.elicitation.outcomes import BETWEEN
from moral_jax.tasks.elicitation.pairs import question
from moral_jax.tasks.questionnaire.conditions import Condition
from moral_jax.tasks.questionnaire.cross import example_of
from moral_jax.tasks.rows import Row
from moral_jax.types import Example

NOW = 1000.0  # dollars
TIMES = (0.5, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)  # of that, later
MONTHS = (0, 1, 6, 12, 24, 36, 60)
DISCOUNTING, CHOICES, LOTTERIES = "discounting", "choices", "lotteries"
WHICH = "Which of these two would you prefer?"
MOST_ANSWERS = 26  # as many as there are labels


def later_text(times: float, months: int) -> str:
    """Returns what is offered later; after 0 months "today"."""
    when = "today" if not months else "in one month" if months == 1 else f"in {months} months"
    return f"You receive ${NOW * times:,.0f} {when}."


NOW_TEXT = f"You receive ${NOW:,.0f} now."


def discounting() -> list[Example]:
    """Returns the questions on money now or later; the row is "later MONTHS TIMES"."""
    out = []
    for months, times in itertools.product(MONTHS, TIMES):
        row = f"later {months} {times:g}"
        asked = question(row, WHICH, (NOW_TEXT, later_text(times, months)), ("now", "later"), "discounting")
        out.append(example_of(asked, [Condition("discounting", "part")], None))
    return out


class Choice(NamedTuple):
    """An open question and all answers to it."""

    id: str
    question: str
    answers: tuple[str, ...]
    where: str


def read_choices(path: Path) -> list[Choice]:
    """Reads {"id", "question", "answers": [...]} a line.

    Raises:
      UserError: a field is missing, unknown or wrong, or an id comes twice.
    """
    out: dict[str, Choice] = {}
    for where, values in strict_json.read_lines(path):
        row = Row(values, where).only(("id", "question", "answers"))
        name, answers = row.text("id"), row.items("answers")
        texts = [answer for answer in answers if isinstance(answer, str) and answer.strip()]
        if not 3 <= len(set(texts)) == len(answers) <= MOST_ANSWERS:
            raise row.error("answers", answers, f"3 to {MOST_ANSWERS} texts that differ")
        if name in out or BETWEEN in name:
            raise row.error("id", name, f"a name without {BETWEEN!r} that no other line has")
        out[name] = Choice(name, row.text("question"), tuple(texts), where)
    return list(out.values())


def choice_examples(choices: Sequence[Choice]) -> list[Example]:
    """Returns for each choice the pairs of its answers, and the question with all of them."""
    out = []
    for c in choices:
        places = range(len(c.answers))
        for i, j in itertools.combinations(places, 2):
            row = f"{c.id}{BETWEEN}{i}{BETWEEN}{j}"
            asked = question(row, c.question, (c.answers[i], c.answers[j]), (str(i), str(j)), c.where)
            out.append(example_of(asked, [Condition("choices", "part")], None))
        asked = question(f"{c.id}{BETWEEN}all", c.question, c.answers, tuple(map(str, places)), c.where)
        out.append(example_of(asked, [Condition("choices", "part")], None))
    return out
