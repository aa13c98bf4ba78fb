"""Numbers on texts: how likely they are, and how well likelihoods, or what training added to them, rank preferences."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from moral_jax.analysis.bootstrap import Estimate, interval
from moral_jax.analysis.metrics import mean_of_known
from moral_jax.analysis.summary import in_groups, resampling_of
from moral_jax.analysis.table import pad
from moral_jax.runs.quantities import TEXTS
from moral_jax.runs.records import Record
from moral_jax.runs.text_records import KIND

MOST_SURPRISING = 10


class Texts:
    """The records of a stage as arrays [E, C]."""

    def __init__(self, records: list[Record]):
        self.records = records
        most = max(len(r["texts"]) for r in records)
        fields = ("logp", "tokens", "counts")
        self.logp_EC, self.tokens_EC, counts_EC = (pad([r[field] for r in records], most) for field in fields)
        self.exists_EC = self.tokens_EC > 0
        known = all("reference" in r for r in records)
        self.reference_EC = pad([r["reference"] for r in records], most) if known else None
        self.shares_EC = counts_EC / counts_EC.sum(-1, keepdims=True)
        self.others_EC = np.where(self.exists_EC, 1 - self.shares_EC, 0.0)
        self.others_EC /= np.maximum(self.others_EC.sum(-1, keepdims=True), 1e-12)

    @property
    def are_compared(self) -> bool:
        """True for preferences, false for single texts."""
        return self.logp_EC.shape[1] > 1

    def sums(self, shares_EC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns log-probability and tokens of each row's texts, weighed by shares, [E] each."""
        return (shares_EC * self.logp_EC).sum(-1), (shares_EC * self.tokens_EC).sum(-1)

    def right(self, scores_EC: np.ndarray) -> np.ndarray:
        """Returns the part of each row's most chosen text that is ranked first, [E]; NaN where votes tie."""
        scores_EC = np.where(self.exists_EC, scores_EC, -np.inf)
        best_EC = scores_EC == scores_EC.max(-1, keepdims=True)
        chosen_EC = (self.shares_EC == self.shares_EC.max(-1, keepdims=True)) & self.exists_EC
        right_E = (best_EC & chosen_EC).sum(-1) / best_EC.sum(-1)
        return np.where(chosen_EC.sum(-1) == 1, right_E, np.nan)


def _ratio(total_E: np.ndarray, weight_E: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda w_RE: (w_RE @ total_E) / np.maximum(w_RE @ weight_E, 1e-12)


def statistics(t: Texts, beta: float | None) -> dict[str, Any]:
    """Returns every number of a stage, by name, as a statistic of row weights.

    Args:
      beta: of rewards beta * (log p - log p_ref), where the records hold a reference; None where there are none.
    """
    logp_E, tokens_E = t.sums(t.shares_EC)
    out: dict[str, Any] = {"nll_per_token": _ratio(-logp_E, tokens_E)}
    out["perplexity"] = lambda w_RE: np.exp(out["nll_per_token"](w_RE))
    out["tokens"] = tokens_E
    if not t.are_compared:
        return out
    other_logp_E, other_tokens_E = t.sums(t.others_EC)
    out["rejected_nll_per_token"] = _ratio(-other_logp_E, other_tokens_E)
    out["rejected_tokens"] = other_tokens_E
    if np.isfinite(right_E := t.right(t.logp_EC)).any():
        out["likelihood_accuracy"] = functools.partial(mean_of_known, right_E)
    if t.reference_EC is not None and beta is not None:
        reward_EC = beta * (t.logp_EC - t.reference_EC)
        if np.isfinite(right_E := t.right(reward_EC)).any():
            out["reward_accuracy"] = functools.partial(mean_of_known, right_E)
        chosen_E, other_E = ((shares_EC * reward_EC).sum(-1) for shares_EC in (t.shares_EC, t.others_EC))
        out["reward_margin"] = chosen_E - other_E
        out["chosen_reward"], out["rejected_reward"] = chosen_E, other_E
    return out


def _estimates(records: list[Record], wanted: dict[str, Any], count: int, seed: int) -> dict[str, Estimate]:
    drawn = resampling_of(records, count, seed).draws(wanted)
    return {name: interval(d, TEXTS[name].limits) for name, d in drawn.items()}


def summarise(
    records: list[Record], first: list[Record] | None, beta: float | None, count: int, seed: int
) -> dict[str, Any]:
    """Returns what stands in a stage's `metrics.json`; arguments as of `statistics` and `bootstrap.Resampling`.

    Args:
      first: records of the stage that training began with, whose weights are the reference.
    """
    if first is not None:
        records = [r | {"reference": f["logp"]} for r, f in zip(records, first, strict=True)]
    t = Texts(records)
    groups = in_groups(records, lambda part: _estimates(part, statistics(Texts(part), beta), count, seed))
    return {
        "kind": KIND,
        "rows": len(records),
        "compared": t.are_compared,
        "metrics": _estimates(records, statistics(t, beta), count, seed),
        "groups": groups,
        "surprising": _surprising(t),
    }


def _surprising(t: Texts) -> list[str]:
    """Returns the ids of the rows whose chosen texts are least likely per token; the smaller half of lengths is left
    out, as short texts are the noisiest."""
    logp_E, tokens_E = t.sums(t.shares_EC)
    long_E = tokens_E >= np.median(tokens_E)
    order = np.argsort(np.where(long_E, logp_E / tokens_E, np.inf), kind="stable")
    return [t.records[i]["id"] for i in order[: min(MOST_SURPRISING, int(long_E.sum()))]]


def compare(before: list[Record], after: list[Record], count: int, seed: int) -> dict[str, Estimate]:
    """Returns paired differences, after minus before."""
    resampling = resampling_of(after, count, seed)
    a, b = (resampling.draws(statistics(Texts(records), None)) for records in (before, after))
    return {name: interval(b[name] - a[name]) for name in b}
