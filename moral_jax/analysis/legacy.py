"""The two metrics of the released code of arXiv 2410.07826, "the study": to be compared with its tables only."""

import numpy as np

from moral_jax.analysis import metrics
from moral_jax.analysis.table import Table, from_records
from moral_jax.runs.records import Record


def cross_entropy(p_EC: np.ndarray, q_EC: np.ndarray, exists_EC: np.ndarray) -> np.ndarray:
    """Returns the study's "cross-entropy": vocabulary probabilities taken for logits, CE(q, softmax(p)), [E].

    It cannot leave [0.313, 1.313] for two options and never reaches the entropy of q.
    """
    exp_EC = np.where(exists_EC, np.exp(p_EC), 0.0)
    softmax_EC = exp_EC / exp_EC.sum(-1, keepdims=True)
    return -np.sum(q_EC * np.log(np.maximum(softmax_EC, metrics.TINY)), axis=-1)


def dirichlet(p_EC: np.ndarray, counts_EC: np.ndarray) -> np.ndarray:
    """Returns the study's "Dirichlet" score, [E]: alpha = p is not renormalised, so option mass decides most of it."""
    return metrics.nll_of_alpha(p_EC, counts_EC)


def values(records: list[Record], t: Table) -> dict[str, np.ndarray]:
    """Returns both by name, [E] each; empty where some record has no vocabulary probabilities.

    Only the first order counts, and vocabulary probabilities are not renormalised.
    """
    if any(r["option_mass"] is None for r in records):
        return {}
    mass_E = np.exp([r["orders"][0]["log_mass"] for r in records])
    p_EC = from_records(records, given_order_only=True).p_EC * mass_E[:, None]
    return {
        "legacy_cross_entropy": cross_entropy(p_EC, t.q_EC, t.exists_EC),
        "legacy_dirichlet": dirichlet(p_EC, t.counts_EC),
    }
