"""How far judges agree with people's labels. A judge that says one thing only is refused."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moral_jax.analysis import raters
from moral_jax.judges import people
from moral_jax.judges.base import Judge, numbers_of
from moral_jax.types import UserError

BLIND = {"sensitivity": "yes", "specificity": "no"}  # what a judge never says where one of them is 0


Agreement = dict[str, Any] | None


def of_judges(judges: Sequence[Judge], labels: Sequence[str] = (), *, refuses: bool = True) -> list[Agreement]:
    """Returns the agreement of each judge with its labelled file, as JSON; None of a judge that has none.

    Args:
      labels: FILE for all judges, or JUDGE=FILE for one, in place of the judges' own files.
      refuses: whether a judge that is blind is an error.

    Raises:
      UserError: a file is bad, or a judge has a sensitivity or specificity of 0.
    """
    files = _files(judges, labels)
    found = [_agreement(judge, files[judge.name]) if files[judge.name] else None for judge in judges]
    for judge, agreement in zip(judges, found, strict=True):
        for name, never in BLIND.items():
            if refuses and agreement and agreement.get(name, {}).get("value") == 0:
                raise UserError(
                    f"--judge={judge.name}: its {name} is 0 on {agreement['file']}: it never says {never} where people "
                    f"do, so that its numbers mean nothing; name another judge, or see moral-jax judge "
                    f"--judge={judge.name} --labels={agreement['file']}"
                )
    return found


def _files(judges: Sequence[Judge], labels: Sequence[str]) -> dict[str, str]:
    """Returns the labelled file of each judge; empty where it has none."""
    files = {judge.name: judge.labelled for judge in judges}
    for said in labels:
        name, equals, path = said.rpartition("=")
        if equals and name not in files:
            raise UserError(f"--labels={said}: no judge is called {name!r}; there are {', '.join(files)}")
        files |= {name: path} if equals else dict.fromkeys(files, said)
    return files


def _agreement(judge: Judge, path: str) -> dict[str, Any]:
    rows = people.read(path, needs_text=True)
    said = numbers_of(judge, [row.written for row in rows])
    return {"file": Path(path).name} | raters.agreement(said, [row.label for row in rows], judge.cut)
