"""Who says what violates a value: the judge of each, and how far it can be trusted."""

from collections.abc import Mapping, Sequence
from typing import Any

from moral_jax.analysis import search as analysis
from moral_jax.analysis.search import Agreement
from moral_jax.judges import people, table
from moral_jax.judges.base import Judge, Written, numbers_of
from moral_jax.runs.memory import key_of
from moral_jax.tasks.values import Principle
from moral_jax.types import Example, UserError
from moral_jax.workflows import judging


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


def checked(judge: Judge, labels: str | None, threshold: float) -> Agreement | None:
    """Returns how a judge agrees with labels: of a file, or its own; None for a judge without any.

    Raises:
      UserError: it says no number from 0 to 1, or its labels show that it cannot tell what violates.
    """
    if judge.range != (0.0, 1.0):
        raise UserError(f"--judge={judge.name}: says numbers from {judge.range[0]:g} to {judge.range[1]:g}; expected a "
                        f"violation from 0 to 1")  # fmt: skip
    path = labels or judge.labelled
    if not path:
        return None
    rows = people.read(path, needs_text=True)
    said = numbers_of(judge, [row.written for row in rows])
    found = analysis.agreement(said, [row.label >= threshold for row in rows], threshold)
    if found is None:
        raise UserError(
            f"{path}: expected labels of texts that violate, and of some that do not, which the judge reads"
        )
    if not found.tells:
        raise UserError(
            f"--judge={judge.name}: cannot tell what violates: by {path} its sensitivity is {found.sensitivity:.3f} "
            f"and its specificity {found.specificity:.3f} ({found.yes} and {found.no} labels); use another judge"
        )
    return found


def about_judges(judges: Mapping[str, Judge], agreements: Mapping[str, Agreement | None]) -> dict[str, Any]:
    """Returns what a log says of judges: name -> what its numbers mean, and how it agrees with labels."""
    return {
        judge.name: judge.about | {"agreement": (found := agreements[judge.name]) and found._asdict()}
        for judge in judges.values()
    }
