"""Whose shares a model is compared with, or brought to: people's votes, or the answers of an elicitation under
personas."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from moral_jax.analysis.utilities.subject import Assembly
from moral_jax.runs import answers
from moral_jax.runs.answers import RECORDS
from moral_jax.tasks.elicitation import assembly
from moral_jax.tasks.elicitation.assembly import Voted
from moral_jax.tasks.elicitation.outcomes import Outcome
from moral_jax.tasks.elicitation.pairs import FLOOR
from moral_jax.tasks.questionnaire.conditions import NONE
from moral_jax.types import UserError

MEMBER = 20.0  # answers that a share of a model stands for: ten in each order, as the paper draws


def read(name: Path, folder: Path, outcomes: Sequence[Outcome], group: str | None = None) -> list[Voted]:
    """Reads the votes of an assembly on pairs of outcomes.

    Args:
      name: a file of votes, or the directory of an elicitation, in which every respondent under every condition is a
        member; where there are conditions, answers without one are left out.
      folder: of the outcomes, where a file is looked for too.
      group: only this one.

    Raises:
      UserError: rows have other options or no votes, or there is no such group.
    """
    path = name if name.exists() or not (folder / name).exists() else folder / name
    said = _of_records(path / RECORDS, outcomes) if path.is_dir() else assembly.read(path, outcomes)
    known = sorted({one.group for one in said})
    if group is not None and group not in known:
        raise UserError(
            f"--assembly-group={group}: {path} has none of that name; there are {', '.join(map(repr, known))}"
        )
    return [one for one in said if group in (None, one.group)]


def _of_records(path: Path, outcomes: Sequence[Outcome]) -> list[Voted]:
    """Returns the answers to pairs of known outcomes, as they are written."""
    place: Mapping[str, int] = {one.id: i for i, one in enumerate(outcomes)}
    out = []
    for r in answers.read(path):
        pair = [tag for tags in r["tags"] for tag in tags]
        if r["condition"].get(FLOOR, "") == NONE and len(pair) == 2 and all(one in place for one in pair):
            p, condition = r["probabilities"], {k: v for k, v in r["condition"].items() if k != FLOOR}
            member = f"{r['respondent']}, {answers.condition_name(condition)}"
            out.append(assembly.voted(place[pair[0]], place[pair[1]], MEMBER * p[0], MEMBER * p[1], member))
    if not out:
        raise UserError(f"{path}: holds no answers to pairs of these outcomes")
    conditioned = [one for one in out if not one.group.endswith(f", {NONE}")]
    return conditioned or out


def counted(said: Sequence[Voted]) -> Assembly:
    """Returns what is counted of an assembly."""
    return Assembly(assembly.shares(said), assembly.by_group(said))
