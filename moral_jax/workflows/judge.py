"""Judges replies that somebody has written already: a file in, records with judgements, numbers and page out.

OUT/records.jsonl      the replies with their judgements, as `moral-jax ask` writes them; `moral-jax tally` counts again
OUT/questionnaire.json who judged
OUT/kept.jsonl         the rows of the file that a filter keeps
OUT/tally.json, report.html, .md
"""

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from moral_jax.judges import table
from moral_jax.judges.base import Judge, Written
from moral_jax.report import judged as page
from moral_jax.report.page import Written as Page
from moral_jax.runs.answers import RECORDS
from moral_jax.runs.records import Record
from moral_jax.runtime import files, places
from moral_jax.tasks import reading, texts
from moral_jax.tasks.rows import Columns, Row, as_text, is_empty
from moral_jax.types import Example, UserError
from moral_jax.workflows import agreeing, judging, replying, tally_replies
from moral_jax.workflows.agreeing import Agreement
from moral_jax.workflows.tally import ABOUT, tally

KEPT, TALLY = "kept.jsonl", "replies"
COMPARES: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
FILTER = re.compile(r"(.+?)\s*(>=|<=|>|<)\s*([-+.\de]+)")


class Said(NamedTuple):
    """A reply of a file, and the row that holds it."""

    written: Written
    row: Row


def _tokens(row: Mapping[str, Any]) -> int | None:
    tokens = row.get("tokens")
    return len(tokens) if isinstance(tokens, list) else tokens if isinstance(tokens, int) else None


def _prompt(row: Row) -> tuple[str, tuple[dict[str, str], ...]]:
    """Returns what a row's replies answer: a text, or turns."""
    prompt = row.get("prompt")
    if isinstance(prompt, str):
        return prompt, ()
    return "", tuple(texts.messages_of(row, "prompt")) if prompt is not None else ()


def _replies_of(row: Row) -> Iterator[Said]:
    """Yields the replies of a row: a record's, or the one that it holds."""
    name = as_text(row.get("id")) or row.where.rpartition("/")[2]
    groups = row.get("groups") if isinstance(row.get("groups"), dict) else {}
    notes = {"target": row.get("target") or []}
    text, turns = _prompt(row)
    example = Example(name, "", ("",), (1.0,), text=text, messages=turns, groups=groups or {}, notes=notes)
    if isinstance(replies := row.get("replies"), list):
        for n, reply in enumerate(replies):
            if not isinstance(reply, dict) or not isinstance(reply.get("text"), str):
                raise row.error("replies", reply, "replies with their texts; those of harmful rows keep none")
            yield Said(Written(example, text, reply["text"], reply.get("reason") or "", _tokens(reply), n), row)
        return
    said = next((row.get(field) for field in ("reply", "text", "completion") if row.get(field) is not None), None)
    messages = texts.messages_of(row, "messages") if said is None else ()
    if messages and messages[-1]["role"] == texts.ASSISTANT:
        said, example = messages[-1]["content"], example._replace(messages=tuple(messages[:-1]))
    if not isinstance(said, str):
        raise row.error("text", said, "a reply, in 'reply', 'text', 'completion', 'replies' or 'messages'")
    sample = row.get("sample")
    number = 0 if is_empty(sample) else int(row.vote("sample", sample))
    yield Said(Written(example, text, said, as_text(row.get("reason")), _tokens(row.values), number), row)


def read(path: str) -> list[Said]:
    """Reads replies: what `moral-jax generate` or `ask` or a run writes, or any table with `reply` or `text`.

    Raises:
      UserError: the file cannot be read, or a row holds no reply; names line and field.
    """
    found = []
    for row in reading.opened(path, Columns()).rows:
        if isinstance(row, UserError):
            raise row
        found += list(_replies_of(row))
    if not found:
        raise UserError(f"{path}: holds no replies")
    return found


def _records(
    name: str, said: Sequence[Said], judgements: Sequence[Mapping[str, float | None]], *, keeps_texts: bool
) -> list[Record]:
    """Returns a record a prompt."""
    records: dict[str, Record] = {}
    for (w, _), numbers in zip(said, judgements, strict=True):
        record = records.setdefault(
            w.id, {"respondent": name, "id": w.id, "row": w.id, "condition": {}, "traits": {},
                   "groups": w.example.groups, "unit": w.id, "target": w.example.notes["target"], "asked": "",
                   "prompt": ([dict(t) for t in w.messages] or w.example.text) if keeps_texts else None, "replies": []},
        )  # fmt: skip
        record["replies"].append(
            {"text": w.text if keeps_texts else None, "reason": w.reason, "tokens": w.tokens,
             "characters": len(w.text.strip()), "judgements": dict(numbers)}
        )  # fmt: skip
    return list(records.values())


def kept(said: Sequence[Said], judgements: Sequence[Mapping[str, float | None]], filters: Sequence[str]) -> list[Any]:
    """Returns the rows whose reply passes all filters, "JUDGE>=NUMBER"; of a record with several replies those.

    A reply of which a judge cannot say anything does not pass.

    Raises:
      UserError: a filter is none, or names a judge that was not asked.
    """
    tests = []
    for text in filters:
        match = FILTER.fullmatch(text.strip())
        if not match or match[1] not in judgements[0]:
            known = ", ".join(judgements[0])
            raise UserError(f"--keep={text}: expected JUDGE>=NUMBER (or <=, >, <), JUDGE one of {known}")
        tests.append((match[1], COMPARES[match[2]], float(match[3])))
    passing: dict[str, tuple[Row, list[int]]] = {}
    for (w, row), numbers in zip(said, judgements, strict=True):
        if all((x := numbers[name]) is not None and compares(x, bound) for name, compares, bound in tests):
            passing.setdefault(row.where, (row, []))[1].append(w.sample)
    out = []
    for row, samples in passing.values():
        replies = row.values.get("replies")
        own = {"replies": [replies[n] for n in samples]} if isinstance(replies, list) else {}
        out.append(row.values | own)
    return out


def agreements(settings: Sequence[str], judge_model: str, labels: Sequence[str]) -> list[tuple[Judge, Agreement]]:
    """Returns judges with their agreement, those that are blind too."""
    judges = table.parse_several(settings, judging.behind(judge_model))
    return list(zip(judges, agreeing.of_judges(judges, labels, refuses=False), strict=True))


def judge(
    path: str, settings: Sequence[str], judge_model: str, labels: Sequence[str], out: Path | None,
    filters: Sequence[str], resamples: int, *, harmful: bool = False,
) -> Page:  # fmt: skip
    """Judges the replies of a file.

    Args:
      settings: of the judges.
      judge_model: who answers rubrics that name nobody.
      labels: as of `agreeing.of_judges`.
      out: a new folder for records, numbers and page; None: nothing is written.
      filters: as of `kept`.
      harmful: no text is shown on the page, or kept in records.

    Raises:
      UserError: a row, a judge or a filter is bad, a judge is blind, or `out` holds something already.
    """
    if out:
        places.check_new("--out", out)
    judges = table.parse_several(settings, judging.behind(judge_model))
    found = agreeing.of_judges(judges, labels)
    said = read(path)
    judgements = replying.judgements_of(judges, [s.written for s in said])
    records = _records(Path(path).name, said, judgements, keeps_texts=not harmful)
    about = {
        "title": f"Replies of {Path(path).name}, judged", "tally": TALLY, "nulls": [], "harmful": harmful,
        "judges": {j.name: j.about | {"agreement": a} for j, a in zip(judges, found, strict=True)},
    }  # fmt: skip
    if out is None:
        numbers = tally_replies.counted(records, TALLY, about, resamples)
        return page.said(numbers, about)
    with files.storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    files.write_jsonl(out / RECORDS, records)
    if filters:
        files.write_jsonl(out / KEPT, kept(said, judgements, filters))
    files.write_json(out / ABOUT, about)
    return tally(out, None, resamples)
