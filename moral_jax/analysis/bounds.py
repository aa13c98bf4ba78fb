"""How much hangs on what an API does not list: bounds of cross-entropy from each record's bounds of its shares."""

from typing import Any

import numpy as np

from moral_jax.analysis import metrics
from moral_jax.analysis.table import Table, pad
from moral_jax.runs.records import Record


def bounds(records: list[Record], t: Table) -> dict[str, Any] | None:
    """None for records without bounds.

    The cross-entropy of a question lies between those of all shares at their highest and all at their lowest, and is
    never below the entropy of its votes. It has no upper bound where people voted for an option that may have nothing;
    `unbounded` counts such questions, and "high" is the mean over the others.
    """
    if not all("low" in r for r in records):
        return None
    low_EC, high_EC = (pad([r[key] for r in records], t.p_EC.shape[1]) for key in ("low", "high"))
    most_E = metrics.cross_entropy(t.replace(p_EC=low_EC))
    least_E = np.maximum(metrics.cross_entropy(t.replace(p_EC=high_EC)), metrics.entropy_floor(t))
    unbounded_E = ((low_EC == 0) & (t.counts_EC > 0)).any(-1)
    return {
        "missing_mass": float(np.mean([r["missing_mass"] for r in records])),
        "unseen": sum(any(o["unseen"] for o in r["orders"]) for r in records),
        "unbounded": int(unbounded_E.sum()),
        "cross_entropy": {
            "low": float(least_E.mean()),
            "high": None if unbounded_E.all() else float(most_E[~unbounded_E].mean()),
        },
    }
