"""Records of texts: what a model says about texts that were learned, or compared, as JSON lines.

A record is a row: its texts, the votes for each, and their log-probabilities, summed over the pieces of a long text.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from moral_jax.runs.records import Asks, Record, are_numbers, read_checked
from moral_jax.runtime.strict_json import shown
from moral_jax.types import Array, Item, UserError

AGAIN = "score the rows again"
KIND = "texts"  # of a stage's numbers, in `metrics.json`


class Likelihoods(NamedTuple):
    """What a model says about texts, one row per entry: an item, or a piece of one."""

    logp_EC: Array  # log-probability of each text
    tokens_EC: Array  # tokens that are read; 0 where there is no text
    log_concentration_E: Array
    reference_EC: Array | None = None  # log-probabilities under the weights that training began with, if known


def of_items(entries: Sequence[Item], items: Sequence[Item], found: Likelihoods) -> Likelihoods:
    """Sums the pieces of each item.

    Args:
      entries: the item of each row of `found`.
      items: those that are wanted, in order.
    """
    place = {item: i for i, item in enumerate(items)}
    rows = np.array([place[entry] for entry in entries])

    def summed(values_EC: Array) -> Array:
        out_EC = np.zeros((len(items), values_EC.shape[1]))
        np.add.at(out_EC, rows, values_EC)
        return out_EC

    log_s_E = np.zeros(len(items))
    log_s_E[rows] = found.log_concentration_E
    logp_EC = np.where(found.tokens_EC > 0, found.logp_EC, 0.0)
    reference_EC = None if found.reference_EC is None else summed(found.reference_EC)
    return Likelihoods(summed(logp_EC), summed(found.tokens_EC), log_s_E, reference_EC)


def make_text_records(asks: Asks, found: Likelihoods) -> list[Record]:
    """Returns a record per example."""
    records: list[Record] = []
    for row, (index, order) in enumerate(asks.items):
        example, back = asks.examples[index], np.argsort(order)
        reference_EC = found.reference_EC
        known = {} if reference_EC is None else {"reference": reference_EC[row, : len(order)][back].tolist()}
        records.append(
            {
                "id": example.id,
                "prompt": [dict(turn) for turn in example.messages] or example.text,
                "texts": list(example.options),
                "counts": list(example.counts),
                "keys": list(example.keys),
                "groups": example.groups,
                "logp": found.logp_EC[row, : len(order)][back].tolist(),
                "tokens": [int(n) for n in found.tokens_EC[row, : len(order)][back]],
            }
            | known
        )
    return records


def _check(where: str, row: Record) -> None:
    """Raises UserError if a row is no record of texts."""
    texts = row.get("texts")
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise UserError(f"{where}: no record: field 'texts': found {shown(texts)}; {AGAIN}")
    for field in ("counts", "logp", "tokens", *(["reference"] if "reference" in row else [])):
        values = row.get(field)
        if not are_numbers(values, len(texts)):
            found = f"found {shown(values)}, expected {len(texts)} finite numbers"
            raise UserError(f"{where}: no record: field {field!r}: {found}; {AGAIN}")


def read_text_jsonl(path: Path) -> list[Record]:
    """Reads records of texts; raises as `read_checked`."""
    return read_checked(path, _check, AGAIN)
