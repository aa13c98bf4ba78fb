"""What judges say of replies: by condition, by group, and the gap between groups.

A number of a prompt is the mean over its replies of which a judge can say something. What is resampled are units: the
prompts, or what several of them are about.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from moral_jax.analysis.tallies.base import Answered, Measure, Statistic
from moral_jax.runs.records import Record

Judges = Mapping[str, Mapping[str, Any]]
MEAN = "mean"
LENGTH, ENDED, UNKNOWN = "characters", "ended by itself", "not judged"
GAP, SHUFFLED = "largest less smallest mean", "same, groups shuffled"
SHUFFLES = 200


def judges_of(a: Answered) -> Judges:
    """Returns what is known of the judges, by name."""
    return a.settings["judges"]


def unit_of(record: Record) -> str:
    """Returns what is resampled."""
    return record["unit"]


def mean_of(record: Record, of: Callable[[dict[str, Any]], float | None]) -> float | None:
    """Returns the mean over the replies to a prompt of which a number is known; None if it is of none."""
    known = [x for reply in record["replies"] if (x := of(reply)) is not None]
    return float(np.mean(known)) if known else None


def said(judge: str) -> Callable[[dict[str, Any]], float | None]:
    """Returns what reads a judge's number of a reply."""
    return lambda reply: reply["judgements"].get(judge)


def says_yes(judge: str, judges: Judges) -> Callable[[dict[str, Any]], float | None]:
    """Returns what reads whether a judge says yes to a reply."""
    cut = judges[judge]["cut"]

    def read(reply: dict[str, Any]) -> float | None:
        x = reply["judgements"].get(judge)
        return None if x is None else float(x >= cut)

    return read


def better_of(judge: Mapping[str, Any]) -> str:
    """Returns whether more of a judge's number is better, where that is clear from its direction."""
    return {"violation": "lower", "profanity": "lower", "quality": "higher", "reward": "higher"}.get(
        judge["higher_is"], ""
    )


def _lengths(reply: dict[str, Any]) -> float | None:
    return reply.get("characters")


def _ended(reply: dict[str, Any]) -> float | None:
    return float(reply["reason"] != "length") if reply.get("reason") else None


def measures(a: Answered) -> Iterator[Measure]:
    """Yields, under each condition, what every judge says on average, and what replies are like."""
    judges = judges_of(a)
    for name, own in a.by_condition():
        for judge, about in judges.items():
            of = own.mean(mean_of(r, said(judge)) for r in own.records)
            yield Measure("What judges say", name, judge, of, better_of(about))
            if about["range"] != [0.0, 1.0]:
                of = own.mean(mean_of(r, says_yes(judge, judges)) for r in own.records)
                yield Measure("Share to which a judge says yes", name, judge, of, better_of(about))
        unknown = [mean_of(r, lambda reply: float(None in reply["judgements"].values())) for r in own.records]
        if any(unknown):
            yield Measure("Replies", name, UNKNOWN, own.mean(unknown))
        yield Measure("Replies", name, LENGTH, own.mean(mean_of(r, _lengths) for r in own.records))
        yield Measure("Replies", name, ENDED, own.mean(mean_of(r, _ended) for r in own.records))
    for kind, group, own in a.by_group():
        for judge, about in judges.items():
            of = own.mean(mean_of(r, said(judge)) for r in own.records)
            yield Measure(f"By {kind}", group, judge, of, better_of(about))


def bold(a: Answered) -> Iterator[Measure]:
    """Yields each group's mean of every judge and its shares of clear numbers, and the gap between groups."""
    judges = judges_of(a)
    for kind in dict.fromkeys(kind for r in a.records for kind in r["groups"]):
        groups = {group: own for k, group, own in a.by_group() if k == kind}
        for judge, about in judges.items():
            table = f"{judge} by {kind}"
            for group, own in groups.items():
                yield Measure(table, group, MEAN, own.mean(mean_of(r, said(judge)) for r in own.records))
                for column, sign in _shares(about):
                    of = functools.partial(_beyond, judge=judge, cut=about["cut"], sign=sign)
                    yield Measure(table, group, column, own.mean(mean_of(r, of) for r in own.records))
            if len(groups) > 1:
                yield Measure(f"Gaps by {kind}", judge, GAP, gap(a, kind, judge))
                yield Measure(f"Gaps by {kind}", judge, SHUFFLED, _shuffled(a, kind, judge), is_yardstick=True)


def _shares(about: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Returns which shares of a judge's numbers are shown: at or above its cut, and at or below the same with the other
    sign where its range has two sides."""
    low, cut = about["range"][0], about["cut"]
    above = (f"share from {cut:g}", 1.0)
    return [above, (f"share to {-cut:g}", -1.0)] if low is not None and low < 0 < cut else [above]


def _beyond(reply: dict[str, Any], judge: str, cut: float, sign: float) -> float | None:
    x = reply["judgements"].get(judge)
    return None if x is None else float(sign * x >= cut)


def _sums(a: Answered, kind: str, judge: str, groups: list[str], of: list[str | None]) -> tuple[np.ndarray, np.ndarray]:
    """Returns sums and counts of a judge's numbers by group and unit, [G, E] each."""
    top_GE, count_GE = (np.zeros((len(groups), len(a.units))) for _ in range(2))
    for record, unit, group in zip(a.records, a.unit_N, of, strict=True):
        value = mean_of(record, said(judge))
        if group is not None and value is not None:
            top_GE[groups.index(group), unit] += value
            count_GE[groups.index(group), unit] += 1
    return top_GE, count_GE


def _gap_of(top_GE: np.ndarray, count_GE: np.ndarray, w_RE: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        means_RG = (w_RE @ top_GE.T) / (w_RE @ count_GE.T)
    return means_RG.max(-1) - means_RG.min(-1)


def gap(a: Answered, kind: str, judge: str) -> Statistic:
    """Returns the largest group mean less the smallest. It is above 0 by chance alone: see `SHUFFLED`."""
    of = [record["groups"].get(kind) for record in a.records]
    top_GE, count_GE = _sums(a, kind, judge, list(dict.fromkeys(g for g in of if g is not None)), of)
    return Statistic(lambda w_RE: _gap_of(top_GE, count_GE, w_RE), int((count_GE.sum(0) > 0).sum()))


def _shuffled(a: Answered, kind: str, judge: str) -> Statistic:
    """Returns the mean gap where groups are dealt to the prompts at random, so that they do not differ."""
    of = [record["groups"].get(kind) for record in a.records]
    groups, deal = list(dict.fromkeys(g for g in of if g is not None)), np.random.default_rng(0)
    one = np.ones((1, len(a.units)))
    drawn = []
    for _ in range(SHUFFLES):
        dealt = [of[i] for i in deal.permutation(len(of))]
        drawn.append(_gap_of(*_sums(a, kind, judge, groups, dealt), one)[0])
    value = float(np.mean(drawn))
    return Statistic(lambda w_RE: np.full(len(w_RE), value), 0)
