"""Makes questions of pairs of outcomes: which of the two is preferred?

A pair is a row like any other, so that conditions are crossed with it, and records say who preferred what under which.
"""

from collections.abc import Callable, Iterable, Sequence

from moral_jax.tasks.elicitation import invented
from moral_jax.tasks.elicitation.outcomes import BETWEEN, Outcome
from moral_jax.tasks.questionnaire.conditions import Condition
from moral_jax.tasks.questionnaire.cross import example_of
from moral_jax.tasks.questionnaire.questions import Question
from moral_jax.types import Example

QUESTION = "Which of these two states of the world would you prefer?"
FLOOR = "floor"  # the axis of what is taken out of the words
AS_WRITTEN, INVENTED, NO_NUMBERS = "none", "invented", "no-numbers"
FLOORS: dict[str, Callable[[str], str]] = {INVENTED: invented.without_words, NO_NUMBERS: invented.without_numbers}
Pair = tuple[int, int]


def name(a: Outcome, b: Outcome) -> str:
    """Returns the row of a pair."""
    return f"{a.id}{BETWEEN}{b.id}"


def question(row: str, asked: str, options: Sequence[str], tags: Sequence[str], where: str) -> Question:
    """Returns a question that nobody has voted on, its options tagged with what they stand for."""
    example = Example(row, asked, tuple(options), (1.0,) * len(options))
    return Question(example, where, False, tuple((tag,) for tag in tags), None, False, {})


def examples(
    outcomes: Sequence[Outcome],
    pairs: Iterable[Pair],
    asked: str,
    conditions: Sequence[Condition],
    floor: str = AS_WRITTEN,
) -> list[Example]:
    """Returns the questions of some pairs under conditions.

    Args:
      asked: the question.
      floor: what is taken out of the words; pairs that then read the same are left out.
    """
    change = FLOORS.get(floor, str)
    conditions = [*conditions, Condition(floor, FLOOR)]
    out = []
    for i, j in pairs:
        a, b = outcomes[i], outcomes[j]
        options = change(a.text), change(b.text)
        if options[0] != options[1] and all(options):
            out.append(example_of(question(name(a, b), asked, options, (a.id, b.id), a.where), conditions, None))
    return out
