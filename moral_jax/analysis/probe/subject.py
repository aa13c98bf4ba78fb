"""What is probed: the states of respondents, and the rows with their labels."""

from typing import NamedTuple

import numpy as np

from moral_jax.types import UserError

FOLDS = 5


class Rows(NamedTuple):
    """The rows that all respondents read."""

    labels_E: np.ndarray  # int: place in `classes`
    classes: list[str]
    gold_E: np.ndarray  # int: the option that is right; -1 where none is
    groups_E: np.ndarray  # int: rows with the same number share a key, and never lie on two sides
    words: list[list[str]]  # of each row, all that is shown


class Seen(NamedTuple):
    """What a respondent's layers hold."""

    states_LED: np.ndarray
    log_odds_LE: np.ndarray | None  # of the right option, through final norm and head; NaN where none is right


def folds(rows: Rows, seed: int) -> np.ndarray:
    """Returns the fold of each row, 0 .. FOLDS - 1: whole groups, classes spread evenly.

    Raises:
      UserError: there are too few groups, or a class would be missing in training.
    """
    counts_GK = np.zeros((rows.groups_E.max() + 1, len(rows.classes)))
    np.add.at(counts_GK, (rows.groups_E, rows.labels_E), 1)
    if len(counts_GK) < 2 * FOLDS:
        raise UserError(
            f"the rows fall into {len(counts_GK)} groups that share no key; a probe needs {2 * FOLDS} at least, as "
            f"rows that share a key never stand on both sides; pass more rows, or rows with other keys"
        )
    order = np.random.default_rng(seed).permutation(len(counts_GK))
    order = order[np.argsort(-counts_GK[order].sum(1), kind="stable")]  # large groups first
    fold_G, held_FK = np.zeros(len(counts_GK), int), np.zeros((FOLDS, len(rows.classes)))
    for group in order:
        more = np.square(held_FK + counts_GK[group]).sum(1) - np.square(held_FK).sum(1)
        fold_G[group] = np.argmin(more)
        held_FK[fold_G[group]] += counts_GK[group]
    left_FK = held_FK.sum(0) - held_FK
    if (left_FK < 1).any() or (held_FK.sum(1) < 1).any():
        few = rows.classes[int(np.argmin(left_FK.min(0)))]
        raise UserError(f"label {few!r}: its rows share their keys, so none would be left to train on; pass more rows")
    return fold_G[rows.groups_E]
