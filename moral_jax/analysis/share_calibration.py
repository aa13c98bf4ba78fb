"""Whether predicted shares mean what they say: of all options predicted at 30 %, people chose 30 % on average.

Confidence in the plurality of the votes, the usual expected calibration error, would punish a perfect model: of five
votes the plurality has more than its true share.
"""

import numpy as np

from moral_jax.analysis.metrics import BINS, bin_of
from moral_jax.analysis.table import Table

NULL_DRAWS = 1000


def reliability(t: Table) -> list[dict[str, float]]:
    """Returns for each bin of predicted shares the mean predicted share, mean human share, and (row, option) pairs."""
    rows, columns = np.nonzero(t.exists_EC)
    p, q = t.p_EC[rows, columns], t.q_EC[rows, columns]
    bins = bin_of(p)
    return [
        {"predicted": float(p[bins == b].mean()), "human": float(q[bins == b].mean()), "pairs": int((bins == b).sum())}
        for b in np.unique(bins)
    ]


def error(t: Table) -> float:
    """Returns the distance of predicted and human share, averaged over BINS bins of the predicted, 0 to 1."""
    bins = reliability(t)
    return sum(b["pairs"] * abs(b["predicted"] - b["human"]) for b in bins) / sum(b["pairs"] for b in bins)


def with_null(t: Table, seed: int, draws: int = NULL_DRAWS) -> dict[str, float]:
    """Returns the error, and what it would be if the predicted shares were the true ones.

    A finite sample of votes has an error however good the model, so a bootstrap interval would never hold 0.

    Returns:
      value: the error.
      expected: its mean over votes drawn from the prediction (multinomial, as many as there are).
      null: its 95th percentile over the same draws; with an error above it, predicted shares are off.
    """
    rng = np.random.default_rng(seed)
    rows, columns = np.nonzero(t.exists_EC)
    bins = np.eye(BINS)[bin_of(t.p_EC[rows, columns])]
    N_E = np.maximum(np.round(t.counts_EC.sum(-1)), 1).astype(np.int64)
    p_EC = t.p_EC / t.p_EC.sum(-1, keepdims=True)
    found = np.empty(draws)
    for i in range(draws):
        gap_EC = p_EC - rng.multinomial(N_E, p_EC) / N_E[:, None]
        found[i] = np.abs(gap_EC[rows, columns] @ bins).sum() / len(rows)
    return {"value": error(t), "expected": float(found.mean()), "null": float(np.percentile(found, 95))}
