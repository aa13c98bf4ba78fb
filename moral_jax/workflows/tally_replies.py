"""Counts judged replies, and writes numbers and page: from records alone, whoever wrote them."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moral_jax.analysis import raters
from moral_jax.analysis.tallies import count, local
from moral_jax.judges import table
from moral_jax.runs import judged
from moral_jax.runs.answers import RECORDS
from moral_jax.runs.records import Record
from moral_jax.types import UserError
from moral_jax.workflows import reviews

SCRIPTED = "scripted:"


def tally(asked: Path, name: str, about: Mapping[str, Any], resamples: int) -> tuple[dict[str, Any], list[Record]]:
    """Returns the numbers of a tally of replies, and the records.

    Args:
      asked: a directory with records.jsonl.
      about: what it says of itself; of judges that it does not know, what their names say.
    """
    records = judged.read(asked / RECORDS)
    if (asked / reviews.REVIEWS).exists():
        records = reviews.attached(asked / reviews.REVIEWS, records, _nulls(records, about))
    return counted(records, name, about, resamples), records


def _nulls(records: Sequence[Record], about: Mapping[str, Any]) -> list[str]:
    """Returns the respondents that are null respondents."""
    everybody = list(dict.fromkeys(r["respondent"] for r in records))
    nulls = about.get("nulls", [who for who in everybody if who.startswith(SCRIPTED)])
    return [who for who in nulls if who in everybody]


def counted(records: Sequence[Record], name: str, about: Mapping[str, Any], resamples: int) -> dict[str, Any]:
    """Returns the numbers of a tally of replies, arguments as of `tally`, with what is known of the judges and how far
    those of one thing agree."""
    names = dict.fromkeys(name for r in records for reply in r["replies"] for name in reply["judgements"])
    known = about.get("judges") or {}
    judges = {judge: known.get(judge) or _about(judge) for judge in names if judge in known or not known}
    if any(r.get("reviews") for r in records):
        judges = local.with_reviews(judges, records, reviews.REVIEWS, resamples)
    settings = dict(about.get("settings") or {}) | {"judges": judges, "records": records}
    found = count.count(records, name, settings, resamples=resamples, replied=_nulls(records, about))
    own = [r for r in records if r["respondent"] in found["respondents"]]
    return found | {"judges": judges, "kappas": kappas(own, judges, resamples)}


def _about(name: str) -> dict[str, Any]:
    """Returns what a judge's name says of it, where records say nothing else."""
    try:
        return table.parse(name).about
    except UserError:
        return {"range": [None, None], "higher_is": "unknown", "cut": 0.5, "version": "", "identity": ""}


def kappas(records: Sequence[Record], judges: Mapping[str, Any], resamples: int) -> list[dict[str, Any]]:
    """Returns how far each two judges of one thing agree, reply by reply; none where a judge stands alone."""
    replies = [reply["judgements"] for r in records for reply in r["replies"]]
    out = []
    for one, other in itertools.combinations(judges, 2):
        if judges[one]["higher_is"] != judges[other]["higher_is"] or judges[one]["higher_is"] == "reward":
            continue  # rules on texts say all kinds of things
        rubric, question, _ = one.partition("#")
        if question and other.startswith(f"{rubric}#"):
            continue  # two questions of one rubric ask about two things
        both = [(of[one], of[other]) for of in replies if of.get(one) is not None and of.get(other) is not None]
        if both:
            first, second = zip(*both, strict=True)
            yes = [[x >= judges[one]["cut"] for x in first], [x >= judges[other]["cut"] for x in second]]
            found = raters.of_yes_and_no(yes[0], yes[1], resamples)
            shares = [sum(of) / len(of) for of in yes]
            out.append({"judges": [one, other], "replies": len(both), "yes": shares} | found)
    return out
