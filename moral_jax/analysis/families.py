"""Families of comparisons that answer one question, and p-values that hold for all of a family at once.

Single-step max-T of Westfall and Young (Resampling-Based Multiple Testing, 1993): a difference counts for as large as
the largest of its whole family would seldom be by chance. Differences that go together cost less than in Bonferroni's
or Holm's correction, and choosing the best model afterwards stays valid, as all pairs are in the family.
"""

from typing import NamedTuple

import numpy as np

from moral_jax.analysis.bootstrap import Draws

SAME = 1e-12  # of a standard error: two models that say the same


class PValue(NamedTuple):
    """A two-sided p of "no difference"."""

    p: float
    is_bound: bool  # no draw was as large: the true p is this or less


def _of(beyond: int, draws: int) -> PValue:
    """Returns (beyond + 1) / (draws + 1), the p of a resampling test, which is never 0."""
    return PValue((beyond + 1) / (draws + 1), beyond == 0)


def _studentised(d: Draws) -> tuple[float, np.ndarray]:
    """Returns the size of a difference in standard errors, and that of its draws around it, [R]."""
    off_R = d.drawn_R - d.value
    error = float(off_R.std())
    if error < SAME:
        return 0.0, np.zeros_like(off_R)
    return abs(d.value) / error, np.abs(off_R) / error


def p_values(family: list[Draws]) -> list[tuple[PValue, PValue]]:
    """Returns for each difference its p alone, and its p among all of the family; from the same resampling.

    A difference that has no variation is no difference that can be tested: its p is 1.
    """
    if not family:
        return []
    sizes, draws_DR = zip(*map(_studentised, family), strict=True)
    R = len(draws_DR[0])
    largest_R = np.max(draws_DR, axis=0)
    out = []
    for size, off_R in zip(sizes, draws_DR, strict=True):
        if size == 0:
            out.append((PValue(1.0, False), PValue(1.0, False)))
        else:
            out.append((_of(int((off_R >= size).sum()), R), _of(int((largest_R >= size).sum()), R)))
    return out
