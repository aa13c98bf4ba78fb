"""Bounds of cross-entropy from bounds of the shares, for APIs that do not list every token."""

from typing import Any

import numpy as np

from moral_jax.analysis import metrics
from moral_jax.analysis.table import Table, pad
from moral_jax.runs.records import Record


def bounds(records: list[Record], t: Table) -> dict[str, Any] | None:
    """Returns bounds of the mean cross-entropy; None for records whose shares have no bounds.

    The cross-entropy of a question is lowest with all shares at their highest, and highest with all at their lowest. It
    is never below the entropy of the votes. It has no upper bound where people voted for an option whose share may be
    zero; `unbounded` counts such questions, and "high" is the mean over the others.
    """
    if not all("low" in r for r in records):
        return None
    low_EC, high_EC = (pad([r[key] for r in records], t.p_EC.shape[1]) for key in ("low", "high"))
    highest_E = metrics.cross_entropy(t.replace(p_EC=low_EC))
    lowest_E = np.maximum(metrics.cross_entropy(t.replace(p_EC=high_EC)), metrics.vote_entropy(t))
    unbounded_E = ((low_EC == 0) & (t.counts_EC > 0)).any(-1)
    return {
        "missing_mass": float(np.mean([r["missing_mass"] for r in records])),
        "unseen": sum(any(o.get("unseen") for o in r["orders"]) for r in records),
        "unbounded": int(unbounded_E.sum()),
        "cross_entropy": {
            "low": float(lowest_E.mean()),
            "high": None if unbounded_E.all() else float(highest_E[~unbounded_E].mean()),
        },
    }
