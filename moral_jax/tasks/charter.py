"""Reads charter.toml: what a team promises of a model, and by which number each promise is judged.

title = "What we promise"

[[clauses]]
id = "nearer"
text = "The model is nearer to people's votes than the model that it was made of."
evidence = { results = "comparison.json:cross_entropy", at_most = 0.0 }

[[clauses]]
id = "consent"
text = "Whoever voted has agreed to it."
none = "because the votes were collected by others, who do not say"
"""

from pathlib import Path
from typing import Any, NamedTuple

from moral_jax.runtime import toml
from moral_jax.runtime.strict_json import is_number, shown
from moral_jax.types import UserError

AT_MOST, AT_LEAST = "at_most", "at_least"


class Clause(NamedTuple):
    """A clause: with a number and its bound, or the reason why there is none."""

    id: str
    text: str
    none: str  # why there is no evidence; empty if there is
    results: str = ""  # FILE:KEY.KEY
    kind: str = AT_MOST
    bound: float = 0.0


class Charter(NamedTuple):
    """A charter."""

    path: Path
    title: str
    clauses: tuple[Clause, ...]


def _evidence(where: str, table: dict[str, Any]) -> dict[str, Any]:
    """Returns what the evidence of a clause says."""
    found = table.get("evidence")
    if not isinstance(found, dict):
        raise UserError(
            f'{where}: evidence: found {shown(found)}, expected {{ results = "FILE:KEY", {AT_MOST} = NUMBER }}, or '
            f'none = "because ..."'
        )
    toml.known(f"{where}: evidence", found, ("results", AT_MOST, AT_LEAST))
    results = toml.text(f"{where}: evidence", found, "results", "FILE:KEY, a number of the results")
    given = [kind for kind in (AT_MOST, AT_LEAST) if kind in found]
    if len(given) != 1 or not is_number(found[given[0]]):
        raise UserError(f"{where}: evidence: bound: expected {AT_MOST} or {AT_LEAST}, one of them, a number")
    return {"results": results, "kind": given[0], "bound": float(found[given[0]])}


def _clause(where: str, table: Any) -> Clause:
    if not isinstance(table, dict):
        raise UserError(f"{where}: found {shown(table)}, expected a table")
    toml.known(where, table, ("id", "text", "evidence", "none"))
    name = toml.text(where, table, "id")
    words = toml.text(where, table, "text")
    if "none" in table and "evidence" in table:
        raise UserError(f"{where} ({name}): has evidence and none; give one of them")
    if "none" in table:
        return Clause(name, words, toml.text(f"{where} ({name})", table, "none", "why there is no evidence"))
    return Clause(name, words, "", **_evidence(f"{where} ({name})", table))


def read(path: Path) -> Charter:
    """Reads a charter.

    Raises:
      UserError: a clause has neither evidence nor a reason why there is none, or anything else is wrong; names file,
        clause and key.
    """
    values = toml.read(path)
    toml.known(str(path), values, ("title", "clauses"))
    found = toml.optional(str(path), values, "clauses", list, [])
    if not found:
        raise UserError(f"{path}: [[clauses]]: has none, expected at least one")
    clauses = tuple(_clause(f"{path}: [[clauses]] {i}", table) for i, table in enumerate(found, 1))
    names = [clause.id for clause in clauses]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"{path}: [[clauses]]: two are called {twice!r}; ids must differ")
    return Charter(path, toml.optional(str(path), values, "title", str, "") or path.stem, clauses)
