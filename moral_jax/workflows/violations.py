"""Who says what violates a value: the judge of each, and how far it can be trusted."""

from collections.abc import Mapping, Sequence
from typing import Any

from moral_jax.judges import table
from moral_jax.judges.base import VIOLATION, Judge, Written
from moral_jax.runs.memory import key_of
from moral_jax.tasks.values import Principle
from moral_jax.types import Example, UserError
from moral_jax.workflows import agreeing, judging


def written(value: Principle, prompt: str, text: str) -> Written:
    """Returns a text as a judge reads it: what it answers begins with the value."""
    about = f"Value: {value.statement}" + (f"\n\n{prompt}" if prompt else "")
    return Written(Example(value.id, "", ("",), (1.0,), text=about, notes={"value": value._asdict()}), prompt, text)


def seed_of(*parts: Any) -> int:
    """Returns a seed of its own for each use, below 2**31."""
    return int(key_of("seed", parts)[:8], 16) >> 1


def judges_of(values: Sequence[Principle], given: str | None) -> dict[str, Judge]:
    """Returns the judge of each value, by its id.

    Args:
      given: of values that name none.

    Raises:
      UserError: a value has none, or it cannot be loaded.
    """
    behind, known, out = judging.behind(), dict[str, Judge](), {}
    for value in values:
        name = value.judge or given
        if not name:
            raise UserError(f"--judge=JUDGE is needed: value {value.id!r} has none of its own")
        known[name] = known.get(name) or table.parse(name, behind)
        out[value.id] = known[name]
    return out


def checked(judges: Sequence[Judge], labels: Sequence[str]) -> dict[str, Any]:
    """Returns how each judge agrees with labels, by its name; None of one that has none.

    Raises:
      UserError: a judge says no number from 0 to 1, or its labels show that it always says the same.
    """
    different = list(dict.fromkeys(judges))
    for judge in different:
        if judge.range != (0.0, 1.0):
            low, high = judge.range
            raise UserError(
                f"--judge={judge.name}: says numbers from {low:g} to {high:g}; expected a violation from 0 to 1"
            )
    return dict(zip((j.name for j in different), agreeing.of_judges(different, labels), strict=True))


def about_judges(judges: Mapping[str, Judge], agreements: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a log says of judges: name -> what its numbers mean, and how it agrees with labels.

    Whatever a judge is made for, its number is taken for a violation here.
    """
    here = {"higher_is": VIOLATION}
    return {judge.name: judge.about | here | {"agreement": agreements[judge.name]} for judge in judges.values()}
