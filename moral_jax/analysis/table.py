"""Records as arrays, from which metrics are computed."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from moral_jax.runs.records import Record
from moral_jax.types import Example


@dataclasses.dataclass(frozen=True)
class Table:
    """One row per example; columns beyond a row's number of options have no votes and no probability."""

    exists_EC: np.ndarray  # bool
    counts_EC: np.ndarray
    p_EC: np.ndarray
    concentration_E: np.ndarray
    positions_EC: np.ndarray | None = None  # places of the options on a scale; NaN where an option has none
    exchangeable_E: np.ndarray | None = None  # bool: the place of an option says nothing; None: it does everywhere

    @property
    def q_EC(self) -> np.ndarray:
        """Shares of the votes, [E, C]."""
        return self.counts_EC / self.counts_EC.sum(-1, keepdims=True)

    @property
    def options_E(self) -> np.ndarray:
        """Number of options of each row."""
        return self.exists_EC.sum(-1)

    @property
    def is_exchangeable(self) -> bool:
        """True if no place among the options says anything: what is fitted to places would know the answers."""
        return self.exchangeable_E is not None and bool(self.exchangeable_E.all())

    @property
    def is_one_vote(self) -> bool:
        """True if no row has two votes: nothing tells then how much people differ within rows."""
        total_E = self.counts_EC.sum(-1)
        return bool(((total_E <= 1) & (self.counts_EC.max(-1) == total_E)).all())

    def replace(self, **fields: Any) -> "Table":
        return dataclasses.replace(self, **fields)

    def take(self, rows: np.ndarray) -> "Table":
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return self.replace(**{name: x[rows] for name, x in fields.items() if x is not None})


def concatenate(tables: list[Table]) -> Table:
    """Joins the rows of tables that have equally many columns."""
    columns = {f.name: [getattr(t, f.name) for t in tables] for f in dataclasses.fields(Table)}
    known = {name: all(x is not None for x in xs) for name, xs in columns.items()}
    return tables[0].replace(**{name: np.concatenate(xs) if known[name] else None for name, xs in columns.items()})


def pad(rows: Sequence[Sequence[float]], width: int, filling: float = 0.0) -> np.ndarray:
    """Returns ragged rows as [E, width], padded with `filling`."""
    out = np.full((len(rows), width), filling)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out


def from_examples(examples: Sequence[Example]) -> Table:
    """Builds a table of votes with equal predicted shares; priors are fitted to it."""
    width = max(len(e.options) for e in examples)
    exists_EC = np.arange(width) < np.array([len(e.options) for e in examples])[:, None]
    uniform_EC = exists_EC / exists_EC.sum(-1, keepdims=True)
    return Table(exists_EC, pad([list(e.counts) for e in examples], width), uniform_EC, np.ones(len(examples)))


def from_records(records: list[Record], given_order_only: bool = False) -> Table:
    """Builds the table; `given_order_only` takes the first order's distribution instead of the average."""
    width = max(len(r["options"]) for r in records)
    p = [(r["orders"][0] if given_order_only else r)["probabilities"] for r in records]
    return Table(
        exists_EC=np.arange(width) < np.array([len(r["options"]) for r in records])[:, None],
        counts_EC=pad([r["counts"] for r in records], width),
        p_EC=pad(p, width),
        concentration_E=np.array([r["concentration"] for r in records]),
        positions_EC=_positions(records, width),
        exchangeable_E=np.array([bool(r.get("exchangeable")) for r in records]),
    )


def _positions(records: list[Record], width: int) -> np.ndarray | None:
    """Returns the places of the options on a scale, [E, C]; None where no record has any."""
    if not any(r.get("positions") for r in records):
        return None
    places = [r.get("positions") or [None] * len(r["options"]) for r in records]
    return pad([[np.nan if x is None else x for x in row] for row in places], width, np.nan)
