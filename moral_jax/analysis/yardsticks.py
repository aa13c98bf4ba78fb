"""What a model is measured against, on the same rows: constants, the true shares if they were known, and people.

A model is compared with a yardstick by differences row by row, resampled together, never by two intervals.
"""

from typing import NamedTuple

import numpy as np

from moral_jax.analysis import ceiling, metrics
from moral_jax.analysis.bootstrap import SMALLEST, Statistic
from moral_jax.analysis.table import Table, pad
from moral_jax.runs.records import Record

METRICS = ("cross_entropy", "dirichlet_nll", "total_variation", "accuracy", "macro_f1", "jensen_shannon",
           "jensen_shannon_distance", "brier", "kl", "absolute_entropy_error")  # fmt: skip
UNIFORM, PRIOR, CONSTANT, TRUE_SHARES, PANEL = "uniform", "train prior", "best constant", "BEST", "second panel"


class Rows(NamedTuple):
    """Losses of the yardsticks row by row, by metric; all nats but the squared distance."""

    constant: dict[str, np.ndarray]  # "cross_entropy", "dirichlet_nll", "squared_distance"
    true_shares: dict[str, np.ndarray]  # "cross_entropy", "dirichlet_nll"; empty where no row has two votes
    # cross-entropy of the true shares given both panels, as groups are by the second; None where they have none
    true_in_groups_E: np.ndarray | None
    panel: dict[str, np.ndarray]  # "cross_entropy", "dirichlet_nll"; empty without a second panel
    votes_curve_EM: np.ndarray | None  # cross-entropy of m votes of the second panel; None without whole ones

    def best_in(self, rows: np.ndarray) -> dict[str, float]:
        """Returns the mean cross-entropy of the true shares in some rows, under "BEST"; empty where they have none."""
        best_E = self.true_in_groups_E
        return {} if best_E is None else {TRUE_SHARES: float(best_E[rows].mean())}

    @property
    def by_name(self) -> dict[str, dict[str, np.ndarray]]:
        """The losses of the yardsticks that there are, by name."""
        known = {CONSTANT: self.constant, TRUE_SHARES: self.true_shares, PANEL: self.panel}
        return {name: losses for name, losses in known.items() if losses}


def second_votes(records: list[Record], width: int) -> np.ndarray | None:
    """Returns the votes of a second panel, [E, C]; None where a row has none."""
    votes = [r.get("second_counts") or [] for r in records]
    return pad(votes, width) if all(map(sum, votes)) else None


def rows(t: Table, second_EC: np.ndarray | None) -> Rows:
    """Returns the losses of the yardsticks on every row of `t`; predictions of `t` itself do not matter."""
    constant, alpha_EC = ceiling.mean_share(t, t), ceiling.fitted_alpha(t, t.counts_EC)
    best_E = ceiling.true_shares_cross_entropy(t, alpha_EC)
    of_constant = {
        "cross_entropy": metrics.cross_entropy(constant),
        "dirichlet_nll": metrics.nll_of_alpha(alpha_EC, t.counts_EC),
        "squared_distance": metrics.squared_distance(constant),
    }
    # a claim about the true shares is a Dirichlet of infinite concentration
    of_true = {} if t.is_one_vote else {"cross_entropy": best_E, "dirichlet_nll": best_E * t.counts_EC.sum(-1)}
    if second_EC is None:
        return Rows(of_constant, of_true, best_E if of_true else None, {}, None)
    people = ceiling.second_panel(t, second_EC)
    of_panel = {name: metrics.ROW_METRICS[name](people) for name in ("cross_entropy", "dirichlet_nll")}
    is_whole = (second_EC == np.round(second_EC)).all()
    in_groups_E = ceiling.true_shares_cross_entropy(t, alpha_EC + second_EC)
    return Rows(of_constant, of_true, in_groups_E, of_panel, ceiling.votes_curve(t, second_EC) if is_whole else None)


def relative(t: Table, of: Rows) -> dict[str, Statistic]:
    """Returns what a model's losses mean beside the yardsticks', by name: statistics of row weights."""
    ce_E, far_E, curve_EM = metrics.cross_entropy(t), metrics.squared_distance(t), of.votes_curve_EM
    constant_E, far_constant_E = of.constant["cross_entropy"], of.constant["squared_distance"]
    best_E = of.true_shares.get("cross_entropy")

    def ratio(above_E: np.ndarray, below_E: np.ndarray) -> Statistic:
        known_E = np.isfinite(above_E) & np.isfinite(below_E)
        above_E, below_E = np.where(known_E, above_E, 0.0), np.where(known_E, below_E, 0.0)

        def statistic(w_RE: np.ndarray) -> np.ndarray:
            below_R = w_RE @ below_E
            return np.divide(w_RE @ above_E, below_R, out=np.zeros_like(below_R), where=below_R > 0)

        return statistic

    out = {}
    if len(ce_E) >= SMALLEST and np.nansum(far_constant_E) > 0:  # else people do not differ, but for noise
        out["explained"] = ratio(far_constant_E - far_E, far_constant_E)
    if best_E is not None and len(ce_E) >= SMALLEST and (constant_E - best_E).sum() > 0:
        out["way_to_true_shares"] = ratio(constant_E - ce_E, constant_E - best_E)
    if curve_EM is not None:
        out["worth_in_votes"] = lambda w_RE: ceiling.worth(w_RE @ ce_E, w_RE @ curve_EM)
    return out


def _scores(t: Table, names: tuple[str, ...] = METRICS) -> dict[str, float]:
    one = np.ones((1, len(t.p_EC)))
    return {name: float(metrics.METRICS[name](t, one)[0]) for name in names}


def true_shares(t: Table, draws: int, seed: int) -> dict[str, float]:
    """Returns what the true shares would score: in closed form where there is one, else the mean over draws."""
    alpha_EC = ceiling.fitted_alpha(t, t.counts_EC)
    best_E = ceiling.true_shares_cross_entropy(t, alpha_EC)
    names = tuple(name for name in METRICS if name not in ("cross_entropy", "dirichlet_nll", "kl"))
    drawn = [_scores(d, names) for d in ceiling.true_shares_draws(t, alpha_EC, draws, seed)]
    out = {
        "cross_entropy": float(best_E.mean()),
        "dirichlet_nll": float((best_E * t.counts_EC.sum(-1)).mean()),
        "kl": float((best_E - metrics.vote_entropy(t)).mean()),
        "vote_entropy": float(ceiling.true_shares_entropy(t, alpha_EC).mean()),
    }
    return out | {name: float(np.mean([d[name] for d in drawn])) for name in names}


def table(
    t: Table, train: Table | None, second_EC: np.ndarray | None, draws: int, seed: int
) -> dict[str, dict[str, float]]:
    """Returns the scores of all yardsticks on the rows of `t`; of the true shares only where some row has two votes.

    "best constant" knows the votes of these rows: each of its metrics is the best that any constant can reach.
    """

    def constant(p: Table, alpha: Table) -> dict[str, float]:
        return _scores(p) | _scores(alpha, ("dirichlet_nll",))

    out = {UNIFORM: constant(ceiling.uniform(t), ceiling.uniform(t))}
    if train is not None:
        source = ceiling.with_even_rows(train)
        out[PRIOR] = constant(ceiling.mean_share(t, source), ceiling.dirichlet_prior(t, source))
    out[CONSTANT] = constant(ceiling.mean_share(t, t), ceiling.dirichlet_prior(t, t))
    if second_EC is not None:
        out[PANEL] = _scores(ceiling.second_panel(t, second_EC))
        # how often their plurality itself is the same, as Scruples counts it
        out[PANEL]["accuracy"] = float(metrics.correct(t.replace(p_EC=second_EC)).mean())
    return out if t.is_one_vote else out | {TRUE_SHARES: true_shares(t, draws, seed)}
