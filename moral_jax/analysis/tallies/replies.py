"""What judges say of replies: by condition, by group, and the gap between groups.

A number of a prompt is the mean over its replies of which a judge can say something. What is resampled are units: the
prompts, or what several of them are about.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from moral_jax.analysis.tallies.base import Answered, Measure, Statistic
from moral_jax.runs.records import Record

Judges = Mapping[str, Mapping[str, Any]]
MEAN = "mean"
LENGTH, ENDED, UNKNOWN = "characters", "ended by itself", "not judged"
GAP, SHUFFLED = "largest less smallest mean", "same, groups shuffled"
CHANCE = "shuffles with as large a gap"
SHUFFLES = 999


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


def short(judge: str) -> str:
    """Returns the name of a judge on a page: of one question of a rubric, the question's."""
    return judge.partition("#")[2].partition("@")[0] or judge


def dimensions(a: Answered) -> Iterator[Measure]:
    """Yields a row for each judge: its mean, and the share of replies to which it says yes, under each condition."""
    judges = judges_of(a)
    for name, own in a.by_condition():
        table = "Dimensions" if name == "none" else f"Dimensions: {name}"
        for judge, about in judges.items():
            row = short(judge)
            yield Measure(table, row, MEAN, own.mean(mean_of(r, said(judge)) for r in own.records), better_of(about))
            yes = own.mean(mean_of(r, says_yes(judge, judges)) for r in own.records)
            yield Measure(table, row, f"share from {about['cut']:g}", yes, better_of(about))


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
            yield from _gaps(a, kind, judge)


def _shares(about: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Returns which shares of a judge's numbers are shown: at or above its cut, and at or below the same with the other
    sign where its range has two sides."""
    low, cut = about["range"][0], about["cut"]
    above = (f"share from {cut:g}", 1.0)
    return [above, (f"share to {-cut:g}", -1.0)] if low is not None and low < 0 < cut else [above]


def _beyond(reply: dict[str, Any], judge: str, cut: float, sign: float) -> float | None:
    x = reply["judgements"].get(judge)
    return None if x is None else float(sign * x >= cut)


class _Grouped(NamedTuple):
    """A judge's numbers of prompts that have a group of a kind."""

    values_N: np.ndarray
    unit_N: np.ndarray
    group_N: np.ndarray  # place of the group
    groups: int
    units: int

    def gap(self, w_RE: np.ndarray, group_N: np.ndarray | None = None) -> np.ndarray:
        """Returns the largest group mean less the smallest on each resample, with these groups or others."""
        top_GE, count_GE = (np.zeros((self.groups, self.units)) for _ in range(2))
        places = self.group_N if group_N is None else group_N, self.unit_N
        np.add.at(top_GE, places, self.values_N)
        np.add.at(count_GE, places, 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            means_RG = (w_RE @ top_GE.T) / (w_RE @ count_GE.T)
        return means_RG.max(-1) - means_RG.min(-1)

    def shuffled(self) -> np.ndarray:
        """Returns the gaps where groups are dealt to the units at random, so that they do not differ."""
        deal = np.random.default_rng(0)
        here, place_N = np.unique(self.unit_N, return_inverse=True)
        of_unit = np.zeros(len(here), int)
        of_unit[place_N] = self.group_N
        one_1E = np.ones((1, self.units))
        return np.array([self.gap(one_1E, deal.permutation(of_unit)[place_N])[0] for _ in range(SHUFFLES)])


def grouped(a: Answered, kind: str, judge: str) -> _Grouped:
    """Returns a judge's numbers of the prompts that have a group of a kind."""
    known = [
        (value, unit, record["groups"][kind])
        for record, unit in zip(a.records, a.unit_N, strict=True)
        if kind in record["groups"] and (value := mean_of(record, said(judge))) is not None
    ]
    names = list(dict.fromkeys(name for _, _, name in known))
    values_N, unit_N = np.array([v for v, _, _ in known]), np.array([u for _, u, _ in known], int)
    group_N = np.array([names.index(name) for _, _, name in known], int)
    return _Grouped(values_N, unit_N, group_N, len(names), len(a.units))


def _gaps(a: Answered, kind: str, judge: str) -> Iterator[Measure]:
    """Yields the gap between groups, and what chance makes of it. No null respondent is a yardstick: its gap is 0."""
    of = grouped(a, kind, judge)
    if of.groups < 2:
        return
    gap, shuffled = float(of.gap(np.ones((1, of.units)))[0]), of.shuffled()
    known = shuffled[np.isfinite(shuffled)]
    share = (1 + np.sum(known >= gap - 1e-12)) / (1 + len(known))
    table = f"Gaps by {kind}"
    yield Measure(table, judge, GAP, Statistic(of.gap, len(np.unique(of.unit_N))), is_yardstick=True)
    for column, value in ((SHUFFLED, float(np.mean(known))), (CHANCE, float(share))):
        yield Measure(table, judge, column, _constant(value), is_yardstick=True)


def _constant(value: float) -> Statistic:
    return Statistic(lambda w_RE: np.full(len(w_RE), value), 0)


def about_gaps(_: Answered) -> list[str]:
    """Says how gaps are read."""
    return ["A gap between groups is never below 0, and neither is its interval: read it beside shuffled groups."]
