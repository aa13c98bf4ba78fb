"""Reads fairness.toml: what is claimed by a metric of fairness, before it is computed.

    title = "Who is released"
    threshold = 0.5                        # a score of at least it is a selection

    [columns]                              # of the table; these are the defaults
    score = "score"
    label = "label"
    group = "group"
    weight = ""
    item = ""

    [records]                              # of a run: which kind of groups, and the share of which option
    group = "country"
    option = "wrong"

    [metrics.true_positive_rate]
    discipline = "statistics"
    theory = { object = "...", justification = "...", contrast = "...", example = "..." }
    protection = { target = "...", subject = "..." }
    harm = { action = "...", actor = "..." }
    provision = { mechanism = "...", provider = "..." }
    scope = { where = "...", when = "...", how_many = "..." }

The fields follow the clusters of an analytic of the word (arXiv 1909.11869); their names are this project's.
"""

from pathlib import Path
from typing import Any, NamedTuple

from moral_jax.runtime import toml
from moral_jax.runtime.files import expanded
from moral_jax.runtime.strict_json import is_number, shown
from moral_jax.types import UserError

SHIPPED = Path(__file__).resolve().parents[1] / "statements"
FIELDS = {
    "theory": ("object", "justification", "contrast", "example"),
    "protection": ("target", "subject"),
    "harm": ("action", "actor"),
    "provision": ("mechanism", "provider"),
    "scope": ("where", "when", "how_many"),
}
COLUMNS = {"score": "score", "label": "label", "group": "group", "weight": "", "item": ""}
THRESHOLD = 0.5


class OfRecords(NamedTuple):
    """How records of votes become scores and labels."""

    group: str  # the kind of groups
    option: str  # the option whose share is the score, and whose votes are the labels


class Statement(NamedTuple):
    """What is claimed, for each metric."""

    path: Path
    title: str
    threshold: float
    columns: dict[str, str]
    records: OfRecords | None
    metrics: dict[str, dict[str, Any]]  # name -> discipline, and the fields of each cluster


def shipped() -> list[str]:
    """Returns the names of the statements that are shipped."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def table(name: str) -> Path:
    """Returns the table of a path, or that of a statement that is shipped."""
    path = expanded(name)
    return path if path.exists() or not (SHIPPED / f"{name}.csv").is_file() else SHIPPED / f"{name}.csv"


def _metric(where: str, table: Any) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise UserError(f"{where}: found {shown(table)}, expected a table")
    toml.known(where, table, ("discipline", *FIELDS))
    out: dict[str, Any] = {"discipline": toml.text(where, table, "discipline")}
    for cluster, fields in FIELDS.items():
        of = toml.optional(where, table, cluster, dict, {})
        toml.known(f"{where}: {cluster}", of, fields)
        out[cluster] = {field: toml.text(f"{where}: {cluster}", of, field) for field in fields}
    return out


def read(name: str, known: tuple[str, ...]) -> Statement:
    """Reads a statement.

    Args:
      name: a path, or the name of one that is shipped.
      known: the metrics that there are.

    Raises:
      UserError: a field is missing or unknown; names file, metric and field.
    """
    path = expanded(name) if expanded(name).is_file() else SHIPPED / f"{name}.toml"
    if not path.is_file():
        raise UserError(f"--statement={name}: no such file; expected a fairness.toml, or one of {', '.join(shipped())}")
    where, values = str(path), toml.read(path)
    toml.known(where, values, ("title", "threshold", "columns", "records", "metrics"))
    threshold = values.get("threshold", THRESHOLD)
    if not is_number(threshold) or not 0 <= threshold <= 1:
        raise UserError(f"{where}: threshold: found {shown(threshold)}, expected a number from 0 to 1")
    columns = toml.optional(where, values, "columns", dict, {})
    toml.known(f"{where}: [columns]", columns, tuple(COLUMNS))
    of_table = {key: toml.optional(f"{where}: [columns]", columns, key, str, usual) for key, usual in COLUMNS.items()}
    metrics = toml.optional(where, values, "metrics", dict, {})
    toml.known(f"{where}: [metrics]", metrics, known)
    if not metrics:
        raise UserError(f"{where}: [metrics]: has none; there is no metric without its statement: {', '.join(known)}")
    of_records = toml.optional(where, values, "records", dict)
    if of_records is not None:
        toml.known(f"{where}: [records]", of_records, OfRecords._fields)
        of_records = OfRecords(*(toml.text(f"{where}: [records]", of_records, key) for key in OfRecords._fields))
    return Statement(
        path, toml.optional(where, values, "title", str, "") or path.stem, float(threshold), of_table, of_records,
        {metric: _metric(f"{where}: [metrics.{metric}]", table) for metric, table in metrics.items()},
    )  # fmt: skip
