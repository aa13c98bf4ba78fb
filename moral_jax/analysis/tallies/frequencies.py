"""Scores of dimensions from how often values were seen: RAIL in the Wild, arXiv 2505.00204.

raw_d is the sum of the percents of the values that are mapped to dimension d. The paper's normaliser could not be read
in full, so both are printed: max = 10 raw_d / max raw, share = 10 raw_d / sum of raw. A dimension with more values
scores higher by that alone: beside each stands the mean of a random map with the same number of values.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

TABLE = "Scores of dimensions"
DRAWS = 100
UNMAPPED = 10  # largest values without a dimension that are listed


def scores(
    percents: Mapping[str, float], dimensions_of: Mapping[str, Sequence[str]], dimensions: Sequence[str], seed: int = 0
) -> dict[str, Any]:
    """Returns raw sums and both scores by dimension, coverage, and the largest values without a dimension.

    Args:
      percents: how often each value was seen.
      dimensions_of: the dimensions of each value; none for values that are not there.
      dimensions: all dimensions, in the order of the page.
    """
    mapped = {value: [d for d in dimensions_of.get(value, ()) if d in dimensions] for value in percents}
    raw = {d: float(sum(p for value, p in percents.items() if d in mapped[value])) for d in dimensions}
    counts = {d: sum(d in of for of in mapped.values()) for d in dimensions}
    most, total, everything = max(raw.values()), sum(raw.values()), sum(percents.values())
    rng, values = np.random.default_rng(seed), np.array([*percents.values()])
    random = {
        d: [float(rng.choice(values, size=n, replace=False).sum()) for _ in range(DRAWS)] for d, n in counts.items()
    }
    left = sorted((v for v, of in mapped.items() if not of), key=lambda v: -percents[v])
    return {
        "dimensions": {
            d: {
                "values": counts[d],
                "raw": raw[d],
                "max": 10 * raw[d] / most if most else 0.0,
                "share": 10 * raw[d] / total if total else 0.0,
                "random map": float(np.mean(random[d])),
                "random map, low": float(np.percentile(random[d], 2.5)),
                "random map, high": float(np.percentile(random[d], 97.5)),
            }
            for d in dimensions
        },
        "coverage": sum(p for value, p in percents.items() if mapped[value]) / everything if everything else 0.0,
        "unmapped": [{"value": v, "percent": percents[v]} for v in left[:UNMAPPED]],
    }


def count(
    percents: Mapping[str, float], dimensions_of: Mapping[str, Sequence[str]], dimensions: Sequence[str]
) -> dict[str, Any]:
    """Returns scores in the form of `count.count`, so that one page shows both. Arguments as of `scores`."""
    found = scores(percents, dimensions_of, dimensions)
    columns = ("values", "raw", "max", "share", "random map")
    cells = {
        d: {c: {"value": of[c]} for c in columns} for d, of in found["dimensions"].items()
    }  # fmt: skip
    for d, of in found["dimensions"].items():
        cells[d]["random map"] |= {"low": of["random map, low"], "high": of["random map, high"]}
    left = ", ".join(f"{u['value']} ({u['percent']:g} %)" for u in found["unmapped"]) or "none"
    inside = [
        d for d, of in found["dimensions"].items() if of["random map, low"] <= of["raw"] <= of["random map, high"]
    ]
    return {
        "tally": "frequencies",
        "description": "scores of dimensions from how often values were seen",
        "respondents": ["corpus"],
        "nulls": [],
        "rows": len(percents),
        "units": len(percents),
        "records": len(percents),
        "conditions": [],
        "tables": {
            TABLE: {
                "rows": list(dimensions), "columns": list(columns), "better": dict.fromkeys(columns, ""),
                "cells": {"corpus": cells},
            }
        },
        "findings": [
            f"The map covers {found['coverage']:.1%} of all percents; the largest values without a dimension: {left}.",
            f"{len(inside)} of {len(dimensions)} dimensions lie where a random map with as many values would put them"
            f"{': ' + ', '.join(inside) if inside else ''}.",
            "raw is the sum of percents; max is 10 raw / the largest raw, share is 10 raw / the sum of all. How often "
            "a value is seen says nothing about whether it is kept.",
        ],
        "surprising": [],
        "coverage": found["coverage"],
    }  # fmt: skip
