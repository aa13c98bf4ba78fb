"""Reads CASE.toml: what may be the case, what is prescribed, what can be done (arXiv 2502.21250).

[[contexts]] have an id, a text and a probability; [[prescripts]] an id, a text, a weight (or weights by context), and
how probable it is that they hold in each context: `relevance`, or `observed = {context = [times, of how many]}`, or
neither, if a model is to say so; [[actions]] an id, a text and a utility in [-1, 1] under every prescript. [choice]
says how to choose.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from moral_jax.runtime import toml
from moral_jax.runtime.files import expanded
from moral_jax.runtime.strict_json import is_number, shown
from moral_jax.types import UserError

SHIPPED = Path(__file__).resolve().parents[1] / "cases"
TEXTS = ("title", "about", "paper")
ROUNDING = 1e-6  # of probabilities that sum to 1


class Named(NamedTuple):
    """An id and its words."""

    id: str
    text: str


@dataclasses.dataclass(frozen=True)
class Choice:
    """[choice]: how to choose."""

    normalise: bool = True
    """True if each context's column of the profile is divided by its sum."""
    temperature: float = 0.0
    """0: the best action; above: one drawn from softmax(score / temperature)."""
    margin: float = 0.0
    """Choose nothing if the best is not ahead of the second by so much."""
    seed: int = 0
    """Of the draw."""


class Case(NamedTuple):
    """A case: J contexts, I prescripts, A actions."""

    path: Path
    title: str
    about: str
    paper: str
    sample: bool
    choice: Choice
    contexts: tuple[Named, ...]
    prescripts: tuple[Named, ...]
    actions: tuple[Named, ...]
    context_J: np.ndarray  # probabilities
    weights_IJ: np.ndarray
    utilities_AI: np.ndarray
    relevance_IJ: np.ndarray | None  # how probable it is that a prescript holds in a context; None: a model says so
    observed_IJ: np.ndarray | None  # of how many observations


def shipped() -> list[str]:
    """Returns the names of the cases that are shipped."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def _number(where: str, field: str, value: Any, low: float, high: float) -> float:
    if not is_number(value) or not low <= value <= high:
        ends = f"a number of at least {low:g}" if high == np.inf else f"a number from {low:g} to {high:g}"
        raise UserError(f"{where}: {field}: found {shown(value)}, expected {ends}")
    return float(value)


def _tables(where: str, values: Mapping[str, Any], kind: str, keys: Sequence[str], least: int) -> list[dict[str, Any]]:
    """Returns the tables [[kind]], their ids and texts checked."""
    found = values.get(kind)
    if not isinstance(found, list) or len(found) < least or not all(isinstance(t, dict) for t in found):
        raise UserError(f"{where}: [[{kind}]]: found {shown(found)}, expected {least} or more tables")
    seen: set[str] = set()
    for place, table in enumerate(found, 1):
        at = f"{where}: [[{kind}]] {place}"
        toml.known(at, table, ("id", "text", *keys))
        for field in ("id", "text"):
            if not isinstance(table.get(field), str) or not table[field].strip():
                raise UserError(f"{at}: {field}: found {shown(table.get(field))}, expected a text")
        if "|" in table["id"]:
            raise UserError(f"{at}: id: found {shown(table['id'])}, expected a name without '|'")
        if table["id"] in seen:
            raise UserError(f"{at}: id: {table['id']!r} stands above already; ids must differ")
        seen.add(table["id"])
    return found


def _by_name(at: str, field: str, value: Any, names: Sequence[str], what: str) -> dict[str, Any]:
    """Returns an object with a value for every name and no other."""
    if not isinstance(value, dict):
        raise UserError(f"{at}: {field}: found {shown(value)}, expected a value for each of {', '.join(names)}")
    if unknown := [name for name in value if name not in names]:
        raise UserError(f"{at}: {field}: {unknown[0]!r} is no {what}; there are {', '.join(names)}")
    if missing := [name for name in names if name not in value]:
        raise UserError(f"{at}: {field}: says nothing of {missing[0]!r}; give a value for every {what}")
    return value


def _weights(at: str, table: Mapping[str, Any], contexts: Sequence[str]) -> list[float]:
    if ("weight" in table) == ("weights" in table):
        raise UserError(f"{at}: expected weight, one number, or weights, a number for each context; not both")
    of = dict.fromkeys(contexts, table["weight"]) if "weight" in table else table["weights"]
    found = _by_name(at, "weights", of, contexts, "context")
    return [_number(at, f"weights.{name}", found[name], 0, np.inf) for name in contexts]


def _relevance(at: str, table: Mapping[str, Any], contexts: Sequence[str]) -> tuple[list[float], list[float]]:
    """Returns how probable a prescript is in each context, and of how many observations; nan where it does not say."""
    if "relevance" in table and "observed" in table:
        raise UserError(f"{at}: has relevance and observed; give one of them")
    if "relevance" in table:
        found = _by_name(at, "relevance", table["relevance"], contexts, "context")
        return [_number(at, f"relevance.{name}", found[name], 0, 1) for name in contexts], [np.nan] * len(contexts)
    if "observed" not in table:
        return [np.nan] * len(contexts), [np.nan] * len(contexts)
    found = _by_name(at, "observed", table["observed"], contexts, "context")
    times: list[float] = []
    for name in contexts:
        pair = found[name]
        whole = isinstance(pair, list) and len(pair) == 2 and all(type(n) is int for n in pair)
        if not whole or not 0 <= pair[0] <= pair[1] or pair[1] == 0:
            raise UserError(f"{at}: observed.{name}: found {shown(pair)}, expected [times, of how many]")
        times.append(pair[0] / pair[1])
    return times, [float(found[name][1]) for name in contexts]


def _choice(where: str, table: Any) -> Choice:
    if not isinstance(table, dict):
        raise UserError(f"{where}: [choice]: found {shown(table)}, expected a table")
    toml.known(f"{where}: [choice]", table, [f.name for f in dataclasses.fields(Choice)])
    if not isinstance(table.get("normalise", True), bool):
        raise UserError(f"{where}: [choice] normalise: found {shown(table['normalise'])}, expected true or false")
    if type(table.get("seed", 0)) is not int or table.get("seed", 0) < 0:
        raise UserError(f"{where}: [choice] seed: found {shown(table['seed'])}, expected a whole number from 0")
    numbers = {key: _number(where, f"[choice] {key}", table[key], 0, np.inf) for key in ("temperature", "margin")
               if key in table}  # fmt: skip
    return Choice(**table | numbers)


def read(name: str) -> Case:
    """Reads a case.

    Args:
      name: a path, or the name of one that is shipped.

    Raises:
      UserError: there is none, it is no TOML, or anything in it is missing, unknown or out of range; names the key.
    """
    path = expanded(name) if expanded(name).is_file() else SHIPPED / f"{name}.toml"
    if not path.is_file():
        raise UserError(f"{name}: no such file; expected a CASE.toml, or one of {', '.join(shipped())}")
    return parsed(toml.read(path), path)


def parsed(values: Mapping[str, Any], path: Path) -> Case:
    """Returns a case of the values of its file; raises UserError as `read`."""
    where = str(path)
    toml.known(where, values, (*TEXTS, "sample", "choice", "contexts", "prescripts", "actions"))
    for key in TEXTS:
        if not isinstance(values.get(key, ""), str):
            raise UserError(f"{where}: {key}: found {shown(values[key])}, expected a text")
    if not isinstance(values.get("sample", False), bool):
        raise UserError(f"{where}: sample: found {shown(values['sample'])}, expected true or false")
    contexts = _tables(where, values, "contexts", ("probability",), 1)
    prescripts = _tables(where, values, "prescripts", ("weight", "weights", "relevance", "observed"), 1)
    actions = _tables(where, values, "actions", ("utilities",), 2)
    names_J, names_I = [c["id"] for c in contexts], [e["id"] for e in prescripts]
    context_J = [_number(where, f"contexts.{c['id']}.probability", c.get("probability"), 0, 1) for c in contexts]
    if abs(sum(context_J) - 1) > ROUNDING:
        raise UserError(f"{where}: [[contexts]]: probabilities sum to {sum(context_J):g}, expected 1")
    found = [_relevance(f"{where}: [[prescripts]] {e['id']}", e, names_J) for e in prescripts]
    relevance_IJ, observed_IJ = (np.array(of, float) for of in zip(*found, strict=True))
    known = ~np.isnan(relevance_IJ).any(1)
    if known.any() and not known.all():
        first = names_I[int(np.flatnonzero(~known)[0])]
        raise UserError(f"{where}: [[prescripts]] {first}: has no relevance, and others have; give all or none")
    utilities = []
    for a in actions:
        at = f"{where}: [[actions]] {a['id']}"
        of = _by_name(at, "utilities", a.get("utilities"), names_I, "prescript")
        utilities.append([_number(at, f"utilities.{name}", of[name], -1, 1) for name in names_I])
    of_contexts, of_prescripts, of_actions = (
        tuple(Named(t["id"], t["text"].strip()) for t in of) for of in (contexts, prescripts, actions)
    )
    return Case(
        path=path,
        title=values.get("title") or path.stem,
        about=values.get("about", ""),
        paper=values.get("paper", ""),
        sample=values.get("sample", False),
        choice=_choice(where, values.get("choice", {})),
        contexts=of_contexts,
        prescripts=of_prescripts,
        actions=of_actions,
        context_J=np.array(context_J),
        weights_IJ=np.array([_weights(f"{where}: [[prescripts]] {e['id']}", e, names_J) for e in prescripts]),
        utilities_AI=np.array(utilities),
        relevance_IJ=relevance_IJ if known.all() else None,
        observed_IJ=observed_IJ if not np.isnan(observed_IJ).any() else None,
    )
