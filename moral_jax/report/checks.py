"""Checks the files that a page is made from: another version, or anybody, may have written them."""

from pathlib import Path
from typing import Any

from moral_jax.runtime.strict_json import is_number, shown
from moral_jax.types import UserError

NEEDED = ("split", "rows", "metrics", "groups", "yardsticks", "reliability")
CALIBRATION = ("temperature", "concentration_factor", "fixed_concentration")
SPLITS = ("test", "validation", "rows")
AGAIN = "score the rows again"


def _has_numbers(value: Any, *fields: str) -> bool:
    return isinstance(value, dict) and all(is_number(value.get(field)) for field in fields)


def _objects(where: str, values: Any) -> dict[str, dict[str, Any]]:
    """Returns `values`, an object of objects; raises for anything else."""
    if not isinstance(values, dict) or not all(isinstance(v, dict) for v in values.values()):
        raise UserError(f"{where}: found {shown(values)}, expected an object of objects; {AGAIN}")
    return values


def estimates(where: str | Path, values: Any) -> None:
    """Checks estimates by name: a value, and low and high where there is an interval; null stands for no estimate."""
    for name, value in (values if isinstance(values, dict) else {str(where): 0}).items():
        fields = set(value) if isinstance(value, dict) else set()
        ends = {"low", "high"} if {"low", "high"} & fields else set()
        if value is not None and not _has_numbers(value, "value", *ends, *fields):
            raise UserError(f"{where}: {name}={shown(value)}: expected value, low and high, finite numbers; {AGAIN}")


def _optional(file: Path, values: dict[str, Any]) -> None:
    """Checks fields of a `metrics.json` that older versions did not write."""
    estimates(f"{file}: against", values.get("against", {}))
    curve = values.get("votes_curve")
    kinds = {"shared": (dict, "an object"), "at_bound": (list, "a list of names")}
    for field, (kind, expected) in kinds.items():
        found = values.get(field, kind())
        if not isinstance(found, kind) or (kind is list and not all(isinstance(x, str) for x in found)):
            raise UserError(f"{file}: {field}={shown(found)}: expected {expected}; {AGAIN}")
    if curve is not None and not (isinstance(curve, list) and all(map(is_number, curve))):
        raise UserError(f"{file}: votes_curve={shown(curve)}: expected numbers; {AGAIN}")


def metrics(file: Path, values: dict[str, Any]) -> None:
    """Checks a `metrics.json`."""
    for field in NEEDED:
        if field not in values:
            raise UserError(f"{file}: the field {field!r} is missing; {AGAIN}")
    if values["split"] not in SPLITS:
        raise UserError(f"{file}: split={shown(values['split'])}: expected {' or '.join(SPLITS)}; {AGAIN}")
    if not isinstance(values["rows"], int):
        raise UserError(f"{file}: rows={shown(values['rows'])}: expected a whole number; {AGAIN}")
    estimates(f"{file}: metrics", values["metrics"])
    if values["metrics"].get("cross_entropy") is None:
        raise UserError(f"{file}: metrics: the field 'cross_entropy' is missing; {AGAIN}")
    calibration = values.get("calibration")
    if calibration is not None and not (_has_numbers(calibration, *CALIBRATION) and len(calibration) == 3):
        found = shown(calibration)
        raise UserError(f"{file}: calibration={found}: expected null, or {' and '.join(CALIBRATION)}; {AGAIN}")
    yardsticks = _objects(f"{file}: yardsticks", values["yardsticks"])
    for name, scores in {"best constant": {}, **yardsticks}.items():
        if not _has_numbers(scores, "cross_entropy", *scores):
            raise UserError(f"{file}: yardsticks: {name}={shown(scores)}: expected finite numbers; {AGAIN}")
    for kind, named in _objects(f"{file}: groups", values["groups"]).items():
        for name, group in _objects(f"{file}: groups: {kind}", named).items():
            estimates(f"{file}: groups: {kind}: {name}", {k: group.get(k) for k in ("cross_entropy", "accuracy")})
            if not is_number(group.get("BEST", 0.0)):
                raise UserError(f"{file}: groups: {kind}: {name}: BEST={shown(group['BEST'])}: no number; {AGAIN}")
    _optional(file, values)
    bins = values["reliability"]
    if not isinstance(bins, list) or not all(_has_numbers(b, "predicted", "human", "pairs") for b in bins):
        raise UserError(f"{file}: reliability={shown(bins)}: expected predicted, human and pairs of each bin; {AGAIN}")


def _fields(file: Path, values: dict[str, Any], expected: dict[str, type]) -> None:
    """Checks the types of fields, and that `split` is one."""
    for field, of in expected.items():
        if not isinstance(values.get(field), of) or (field == "split" and values[field] not in SPLITS):
            raise UserError(f"{file}: {field}={shown(values.get(field))}: is not what a run writes; {AGAIN}")


def text_metrics(file: Path, values: dict[str, Any]) -> None:
    """Checks a `metrics.json` of texts."""
    _fields(file, values, {"split": str, "rows": int, "metrics": dict, "groups": dict, "surprising": list})
    estimates(f"{file}: metrics", values["metrics"])
    if values["metrics"].get("nll_per_token") is None:
        raise UserError(f"{file}: metrics: the field 'nll_per_token' is missing; {AGAIN}")
    _groups_of_estimates(file, values)


def reply_metrics(file: Path, values: dict[str, Any]) -> None:
    """Checks a `metrics.json` of replies."""
    _fields(file, values, {"split": str, "rows": int, "metrics": dict, "groups": dict})
    estimates(f"{file}: metrics", values["metrics"])
    _groups_of_estimates(file, values)


def _groups_of_estimates(file: Path, values: dict[str, Any]) -> None:
    for kind, named in _objects(f"{file}: groups", values["groups"]).items():
        for name, group in _objects(f"{file}: groups: {kind}", named).items():
            estimates(f"{file}: groups: {kind}: {name}", {k: v for k, v in group.items() if k != "rows"})


def record(where: str, row: dict[str, Any]) -> None:
    """Checks a record for the page; `runs.records` has checked its options, votes and probabilities."""
    for field in ("id", "question", "title", "text"):
        if not isinstance(row.get(field), str):
            raise UserError(f"{where}: no record: field {field!r}: found {shown(row.get(field))}; {AGAIN}")
    orders = row.get("orders")
    if not isinstance(orders, list) or not orders or not all(isinstance(o, dict) for o in orders):
        raise UserError(f"{where}: no record: field 'orders': found {shown(orders)}; {AGAIN}")
    for field in ("kl", "order_sensitivity"):
        if not is_number(row.get(field)):
            raise UserError(f"{where}: no record: field {field!r}: found {shown(row.get(field))}; {AGAIN}")


def comparison(file: Path, values: dict[str, Any]) -> None:
    """Checks a `comparison.json`."""
    estimates(str(file), values)
    if values and values.get("cross_entropy") is None:
        raise UserError(f"{file}: the field 'cross_entropy' is missing; {AGAIN}")


def log_line(where: str, row: dict[str, Any]) -> None:
    """Checks a line of `metrics.jsonl`."""
    needed = ("step",) if row.get("kind") == "rollout" else ("step", "loss")
    if not isinstance(row.get("kind"), str) or not _has_numbers(row, *needed):
        raise UserError(f"{where}: expected 'step', 'kind' and 'loss'; delete the file to make the page without it")


def provenance(file: Path, values: dict[str, Any]) -> None:
    """Checks a `provenance.json`."""
    for section, fields in {"data": ("description", "citation"), "model": ("path",)}.items():
        names = " and ".join(fields)
        texts = values.get(section, {})
        if not isinstance(texts, dict) or not all(isinstance(texts.get(f, ""), str) for f in fields):
            raise UserError(f"{file}: {section!r} is {shown(texts)}, expected texts for {names}; {AGAIN}")
    rows = values.get("data", {}).get("rows", {})
    if not isinstance(rows, dict):
        raise UserError(f"{file}: 'data' holds rows={shown(rows)}, expected an object; {AGAIN}")
