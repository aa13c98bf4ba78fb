"""Writes the page of judged replies: the answer first, tables beside null respondents, judges and how far they agree
with people and with each other, and replies to read."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from moral_jax.report import blocks, questionnaire
from moral_jax.report.blocks import Block
from moral_jax.report.page import Written
from moral_jax.report.words import Table, interval, markdown, number
from moral_jax.runs.answers import condition_name
from moral_jax.runs.records import Record

Numbers = Mapping[str, Any]
SHOWN = 300  # characters of a text
EACH = 4  # replies of each respondent that are shown
NOTE = (
    "Brackets show 95 % intervals over resampled prompts, where a number rests on five or more. A star marks numbers "
    "that can be told from the nearest null respondent, by the interval of the difference: {nulls} reply to the same "
    "prompts without reading them, and are judged by the same judges."
)
HIDDEN = "These rows ask for harm, so no text is shown here. Records hold ids and judgements."
CHOSEN = "The highest and the lowest numbers by the first judge; texts are cut."
UNCHECKED = "unchecked"
# names of analysis.tallies.jailbreak and of analysis.tallies.replies
ATTACKS, EVERYWHERE, SUCCESS, ANSWERED = "Attacks", "all conditions", "attack success", "benign answered"
PRINTED = ("Gaps",)  # tables that are printed beside the first


def agreement_words(agreement: Numbers | None) -> str:
    """Says in a line how far a judge agrees with labels; "unchecked" where there are none."""
    if agreement is None:
        return UNCHECKED
    known = {name: of for name, of in agreement.items() if isinstance(of, dict)}
    said = ", ".join(f"{name} {interval(of)}" for name, of in known.items()) or "nothing known"
    return f"{said} ({agreement['replies']} labelled replies, {agreement['file']})"


def judges_table(judges: Numbers) -> Table:
    """Returns a line a judge: what its numbers mean, and its agreement with people."""
    rows = []
    for name, about in judges.items():
        low, high = ("" if x is None else f"{x:g}" for x in about["range"])
        rows.append([name, about["higher_is"], f"{low} to {high}" if low or high else "any", f"{about['cut']:g}",
                     about["version"], agreement_words(about.get("agreement"))])  # fmt: skip
    return Table(["judge", "more of it is", "range", "yes from", "version", "agreement with people's labels"], rows)


def kappas_table(kappas: Sequence[Numbers]) -> Table:
    """Returns a line for each two judges of one thing."""
    rows = []
    for k in kappas:
        said = [*map(number, k["yes"]), interval(k.get("accuracy")), interval(k.get("kappa"))]
        rows.append([" and ".join(k["judges"]), str(k["replies"]), *said])
    return Table(["judges", "replies", "yes by the first", "yes by the second", "same verdict", "kappa"], rows)


def _shown(records: Sequence[Record], who: str, judge: str) -> list[Record]:
    """Returns some records of a respondent: those of the highest and the lowest number by a judge, in halves."""

    def value(record: Record) -> float:
        known = [x for reply in record["replies"] if (x := reply["judgements"].get(judge)) is not None]
        return sum(known) / len(known) if known else 0.0

    own = sorted((r for r in records if r["respondent"] == who), key=value)
    half = EACH // 2
    return own if len(own) <= EACH else [*own[-half:][::-1], *own[:half]]


def _prompt(record: Record) -> str:
    prompt = record["prompt"] or ""
    said = prompt if isinstance(prompt, str) else "\n".join(f"[{t['role']}] {t['content']}" for t in prompt)
    return said if len(said) <= SHOWN else "..." + said[-SHOWN:]


def samples(found: Numbers, records: Sequence[Record]) -> Table:
    """Returns replies to read."""
    judge = next(iter(found["judges"]), "")
    several = len(found["respondents"]) > 1
    rows = []
    for who in found["respondents"]:
        for r in _shown(records, who, judge):
            reply = r["replies"][0]
            numbers = ", ".join(f"{k} {'?' if v is None else number(v)}" for k, v in reply["judgements"].items())
            name = f"{r['row']} · {condition_name(r['condition'])}"
            rows.append([*([who] if several else []), name, _prompt(r), (reply["text"] or "")[:SHOWN], numbers])
    return Table([*(["respondent"] if several else []), "row", "prompt", "reply", "judgements"], rows)


def _tables(found: Numbers) -> Iterator[Block]:
    """Yields a table for each respondent, and all of them beside null respondents."""
    several = len(found["respondents"]) > 1
    for name in found["tables"]:
        pictures = tuple(questionnaire.forests(dict(found), name))
        for who in found["respondents"]:
            own = questionnaire.compact(dict(found), name, who)
            if own.rows:
                yield Block(f"{name}: {who}" if several else name, own, pictures=pictures)
                pictures = ()
        beside = questionnaire.beside_nulls(dict(found), name)
        if beside.rows:
            yield Block(f"{name}, beside null respondents", beside, is_open=len(beside.rows) <= questionnaire.OPEN)


def _answered(found: Numbers) -> Iterator[str]:
    """Yields attack success at benign answered, of each respondent."""
    for who, of_row in found["tables"].get(ATTACKS, {"cells": {}})["cells"].items():
        cells = of_row.get(EVERYWHERE, {})
        success = next((cell for column, cell in cells.items() if column.startswith(SUCCESS)), None)
        if success and ANSWERED in cells:
            yield f"{who}: attack success {interval(success)} at benign answered {interval(cells[ANSWERED])}."


def _verdict(found: Numbers, about: Numbers) -> list[str]:
    """Says in sentences what the numbers hold."""
    said = [*_answered(found), *questionnaire.verdict(dict(found), dict(about))]
    unchecked = [name for name, of in found["judges"].items() if of.get("agreement") is None]
    said += [f"Unchecked against people's labels: {', '.join(unchecked)}."] if unchecked else []
    return said + [f"{name} is answered by a model about itself: name another." for name in about.get("own_judges", [])]


def _printed(found: Numbers) -> list[tuple[str, Table]]:
    """Returns the tables that the command prints."""
    several, first = len(found["respondents"]) > 1, next(iter(found["tables"]))
    names = [name for name in found["tables"] if name == first or name.startswith(PRINTED)]
    own = [
        (f"{name}: {who}" if several else name, questionnaire.compact(dict(found), name, who))
        for name in names for who in found["respondents"]
    ]  # fmt: skip
    kappas = [("Judges of one thing", kappas_table(found["kappas"]))] if found["kappas"] else []
    return [*((h, table) for h, table in own if table.rows), ("Judges", judges_table(found["judges"])), *kappas]


def said(found: Numbers, about: Numbers) -> Written:
    """Returns what is printed of numbers that have no page."""
    tables = [f"{heading}\n\n{markdown(table)}" for heading, table in _printed(found)]
    return Written(Path(), "\n\n".join(tables), "\n".join(_verdict(found, about)))


def write(folder: Path, found: Numbers, about: Numbers, records: Sequence[Record]) -> Written:
    """Writes report.html and report.md of judged replies into a folder.

    Args:
      found: as `workflows.tally_replies.tally` returns it.
      about: what was asked, who replied and who judged; may be empty.
      records: the replies.
    """
    parts = [about.get(key) for key in ("about", "paper", "licence", "attribution")]
    hides = about.get("harmful") or all(reply["text"] is None for r in records for reply in r["replies"])
    note = NOTE.format(nulls=", ".join(found["nulls"]) or "nobody")
    body = [
        *_tables(found),
        Block("Judges", judges_table(found["judges"]), note, wraps=True),
        *([Block("Judges of one thing", kappas_table(found["kappas"]))] if found["kappas"] else []),
        Block("Replies to read", None if hides else samples(found, records), HIDDEN if hides else CHOSEN, wraps=True),
    ]
    title = about.get("title") or folder.resolve().name
    subtitle = " · ".join(part for part in parts if part)
    return blocks.write(folder, title, subtitle, _verdict(found, about), body, _printed(found))
