"""Ratings on a scale: means by domain, attitude to risk, shifts by persona. arXiv 2411.08884; DOSPERT, Blais and Weber
2006.

The rating of a row is E = sum over points k of k p_k; the likelihood of a row whose scale runs the other way is turned.
Which question is asked is an axis named form (likelihood, benefit, risk); every other axis is a persona. Attitude is
the least-squares fit, over the items of a domain, of

    likelihood = constant + a benefit + b risk

a is the attitude to benefit, b to perceived risk; rows whose scale runs the other way are left out of it, as what turns
a likelihood does not turn a benefit. A shift by persona is tested by a paired t-test over items, corrected
over personas and domains (Benjamini and Hochberg).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from moral_jax.analysis.tallies.base import Answered, Measure, Statistic
from moral_jax.runs.records import Record

FORM, LIKELIHOOD, BENEFIT, RISK = "form", "likelihood", "benefit", "risk"
RATINGS, ATTITUDE, RELIABILITY, SENSITIVE = "Mean rating", "Attitude to risk", "Reliability", "Does it read the items"
FLAT, MOVED = 0.1, 1.0  # a standard deviation over items below, or a shift by the order above: it is insensitive


def points(record: Record) -> np.ndarray:
    """Returns the points of the scale: those of the record, or 1, 2, 3 ..."""
    return np.array(record["positions"] or range(1, len(record["options"]) + 1), float)


def as_said(record: Record, shares: Sequence[float] | None = None) -> float:
    """Returns the mean point of a record, or of other shares of its options."""
    return float(points(record) @ np.array(record["probabilities"] if shares is None else shares))


def rating(record: Record) -> float:
    """Returns the mean point; a likelihood is turned where the scale runs the other way, as caution is no risk."""
    mean, points_C = as_said(record), points(record)
    turns = record["reverse"] and form_of(record) == LIKELIHOOD
    return points_C.min() + points_C.max() - mean if turns else mean


def moves_by_order(record: Record) -> float | None:
    """Returns how far the rating moves between the orders of the points; None where there was one order."""
    ratings = [as_said(record, shown["probabilities"]) for shown in record["orders"]]
    return max(ratings) - min(ratings) if len(ratings) > 1 else None


def form_of(record: Record) -> str:
    """Returns which question was asked."""
    return record["condition"].get(FORM, LIKELIHOOD)


def persona_of(record: Record) -> str:
    """Returns the other conditions; "none" where there is none."""
    named = [f"{axis}={name}" for axis, name in record["condition"].items() if axis != FORM and name != "none"]
    return "; ".join(named) or "none"


def alpha(ratings_SI: np.ndarray) -> float:
    """Returns Cronbach's alpha of ratings [respondents, items]; nan of fewer than two of either, or without variance.

    k / (k - 1) (1 - sum of the items' variances / variance of the sums).
    """
    respondents, items = ratings_SI.shape
    total = ratings_SI.sum(1).var(ddof=1) if respondents > 1 else 0.0
    if items < 2 or total == 0:
        return float("nan")
    return float(items / (items - 1) * (1 - ratings_SI.var(0, ddof=1).sum() / total))


def fit(likelihood_I: np.ndarray, benefit_I: np.ndarray, risk_I: np.ndarray, w_I: np.ndarray) -> np.ndarray:
    """Returns (constant, a, b) of the weighted least-squares fit; nan where the items do not determine them."""
    design_I3 = np.stack([np.ones_like(benefit_I), benefit_I, risk_I], axis=1)
    root_I = np.sqrt(w_I)
    if np.linalg.matrix_rank(design_I3 * root_I[:, None]) < 3:
        return np.full(3, np.nan)
    return np.linalg.lstsq(design_I3 * root_I[:, None], likelihood_I * root_I, rcond=None)[0]


def _domains(a: Answered) -> list[str]:
    return list(dict.fromkeys(name for r in a.records for name in list(r["groups"].values())[:1])) or ["all items"]


def _domain_of(record: Record) -> str:
    return next(iter(record["groups"].values()), "all items")


def _attitude(own: Answered, place: int) -> Statistic:
    """Returns one of the coefficients of a domain; the ratings of its items under all three forms."""
    rated: dict[str, dict[str, float]] = {}
    unit = {}
    for r, u in zip(own.records, own.unit_N, strict=True):
        if r["reverse"]:
            continue
        rated.setdefault(r["row"], {})[form_of(r)] = rating(r)
        unit[r["row"]] = u
    rows = [row for row, forms in rated.items() if {LIKELIHOOD, BENEFIT, RISK} <= set(forms)]
    likelihood, benefit, risk = (np.array([rated[row][f] for row in rows]) for f in (LIKELIHOOD, BENEFIT, RISK))
    units = np.array([unit[row] for row in rows], int)

    def of(w_RE: np.ndarray) -> np.ndarray:
        if len(rows) < 3:
            return np.full(len(w_RE), np.nan)
        return np.array([fit(likelihood, benefit, risk, w_E[units])[place] for w_E in w_RE])

    return Statistic(of, len(rows))


def _spread(own: Answered) -> Statistic:
    """Returns the standard deviation over items of what is said, before any is turned."""
    ratings_N, units = np.array(list(map(as_said, own.records))), own.unit_N

    def of(w_RE: np.ndarray) -> np.ndarray:
        w_RN = w_RE[:, units]
        with np.errstate(invalid="ignore", divide="ignore"):
            mean_R = w_RN @ ratings_N / w_RN.sum(1)
            return np.sqrt((w_RN * (ratings_N - mean_R[:, None]) ** 2).sum(1) / w_RN.sum(1))

    return Statistic(of, len(set(units.tolist())))


def measures(a: Answered) -> Iterator[Measure]:
    """Yields ratings by domain and form, attitudes, reliability, and how much order and items matter."""
    plain = a.where([persona_of(r) == "none" for r in a.records])
    for domain in [*_domains(a), "all items"] if len(_domains(a)) > 1 else _domains(a):
        of_domain = plain.where([domain in (_domain_of(r), "all items") for r in plain.records])
        for form in dict.fromkeys(map(form_of, of_domain.records)):
            own = of_domain.where([form_of(r) == form for r in of_domain.records])
            yield Measure(RATINGS, domain, form, own.mean(map(rating, own.records)))
        if {LIKELIHOOD, BENEFIT, RISK} <= set(map(form_of, of_domain.records)):
            for place, name in enumerate(("constant", "to benefit", "to risk")):
                yield Measure(ATTITUDE, domain, name, _attitude(of_domain, place))
    for form in dict.fromkeys(map(form_of, plain.records)):
        own = plain.where([form_of(r) == form for r in plain.records])
        yield Measure(SENSITIVE, form, "sd over items", _spread(own))
        yield Measure(SENSITIVE, form, "moved by the order of the scale", own.mean(map(moves_by_order, own.records)))
    yield from _reliability(a)
    yield from _shifts(a)


def _ratings(a: Answered, domain: str, persona: str) -> dict[str, float]:
    """Returns the likelihood ratings of a domain's rows."""
    asked = [r for r in a.records if form_of(r) == LIKELIHOOD and persona_of(r) == persona]
    return {r["row"]: rating(r) for r in asked if domain == _domain_of(r)}


def _reliability(a: Answered) -> Iterator[Measure]:
    """Yields alpha by domain, where the conditions are the respondents: not that of a population."""
    personas = list(dict.fromkeys(map(persona_of, a.records)))
    for domain in _domains(a):
        rated = [_ratings(a, domain, persona) for persona in personas]
        rows = [row for row in rated[0] if all(row in of for of in rated)]
        value = alpha(np.array([[of[row] for row in rows] for of in rated])) if rows else float("nan")
        yield Measure(RELIABILITY, domain, f"alpha over {len(personas)} conditions", _fixed(value))


def _fixed(value: float) -> Statistic:
    """Returns a number that is not resampled, so that it has no interval."""
    return Statistic(lambda w_RE: np.full(len(w_RE), value), 0)


def shifts(a: Answered) -> list[dict[str, Any]]:
    """Returns, for each persona and domain, the mean difference to no persona, and p, corrected over all of them."""
    from scipy import stats  # half a second, which other tallies need not wait for

    out = []
    for persona in dict.fromkeys(map(persona_of, a.records)):
        for domain in _domains(a) if persona != "none" else ():
            own, plain = _ratings(a, domain, persona), _ratings(a, domain, "none")
            d_I = np.array([own[row] - plain[row] for row in own if row in plain])
            if len(d_I) > 1:
                same = np.ptp(d_I) < 1e-9
                p = float(abs(d_I.mean()) < 1e-9) if same else float(stats.ttest_1samp(d_I, 0).pvalue)
                out.append({"persona": persona, "domain": domain, "shift": float(d_I.mean()), "p": p})
    corrected = stats.false_discovery_control([o["p"] for o in out]) if out else []
    return [o | {"corrected": float(p)} for o, p in zip(out, corrected, strict=True)]


def _shifts(a: Answered) -> Iterator[Measure]:
    for persona in dict.fromkeys(map(persona_of, a.records)):
        for domain in _domains(a) if persona != "none" else ():
            own, plain = _ratings(a, domain, persona), _ratings(a, domain, "none")
            of = a.where([r["row"] in own and r["row"] in plain and form_of(r) == LIKELIHOOD
                          and persona_of(r) == persona for r in a.records])  # fmt: skip
            shift = of.mean([own[r["row"]] - plain[r["row"]] for r in of.records])
            yield Measure("Shift by persona", persona, domain, shift)


def findings(a: Answered) -> list[str]:
    """Says which personas shift which domain, and whether the items are read at all."""
    out = []
    likely = [r for r in a.records if form_of(r) == LIKELIHOOD and persona_of(r) == "none"]
    spread = float(np.std(list(map(as_said, likely)))) if likely else float("nan")
    moved = [m for m in map(moves_by_order, likely) if m is not None]
    if spread < FLAT or (moved and np.mean(moved) > MOVED):
        by_order = f", and the order of the scale moves them by {np.mean(moved):.2f} points" if moved else ""
        out.append(f"The ratings are insensitive to the items: their standard deviation is {spread:.2f}{by_order}.")
    tested = shifts(a)
    found = [s for s in tested if s["corrected"] < 0.05]
    if tested:
        named = "; ".join(f"{s['persona']} in {s['domain']} ({s['shift']:+.2f})" for s in found)
        out.append(
            f"Of {len(tested)} shifts by persona {len(found) or 'none'} can be told from chance after correction"
            + (f": {named}." if found else ".")
        )
    return out
