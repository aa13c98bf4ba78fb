"""Records as arrays, from which metrics are computed."""

import dataclasses

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

    @property
    def q_EC(self) -> np.ndarray:
        """Shares of the votes, [E, C]."""
        return self.counts_EC / self.counts_EC.sum(-1, keepdims=True)

    @property
    def options_E(self) -> np.ndarray:
        """Number of options of each row."""
        return self.exists_EC.sum(-1)

    def replace(self, **fields: np.ndarray) -> "Table":
        return dataclasses.replace(self, **fields)

    def take(self, rows: np.ndarray) -> "Table":
        return Table(*(getattr(self, f.name)[rows] for f in dataclasses.fields(self)))


def concatenate(tables: list[Table]) -> Table:
    """Joins the rows of tables that have equally many columns."""
    return Table(*(np.concatenate([getattr(t, f.name) for t in tables]) for f in dataclasses.fields(Table)))


def pad(rows: list[list[float]], width: int) -> np.ndarray:
    """Returns ragged rows as [E, width], padded with zeros."""
    out = np.zeros((len(rows), width))
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out


def from_examples(examples: list[Example]) -> Table:
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
    )
