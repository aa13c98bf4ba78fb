"""Asks one respondent prompts, turn by turn, has its replies judged, and writes each piece of records as it comes."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from moral_jax.config.sample import SampleConfig
from moral_jax.judges.base import Judge, Written, numbers_of
from moral_jax.respondents.base import Replying
from moral_jax.runs import answers, judged
from moral_jax.runs.answers import RECORDS
from moral_jax.runs.judged import TURN
from moral_jax.runs.records import Record
from moral_jax.runtime import console, distributed, files
from moral_jax.tasks.questionnaire.cross import Crossed
from moral_jax.types import Example, UserError
from moral_jax.workflows.tally import ABOUT

PIECE = 64  # prompts that are replied to before their replies are written
Key = tuple[str, str, str]


class Asking(NamedTuple):
    """All that is the same for every respondent."""

    out: Path
    about: dict[str, Any]
    how: SampleConfig
    stops: tuple[str, ...]
    judges: list[Judge]
    keeps_texts: bool
    records: dict[Key, Record]


def earlier(out: Path) -> dict[Key, Record]:
    """Returns the records that a directory holds already; removes a last line that a kill has cut."""
    path = out / RECORDS
    answers.mend(path)
    found = judged.read(path) if path.exists() and path.stat().st_size else []
    return {answers.identity(r): r for r in found}


def ask(asking: Asking, name: str, make: Callable[[], Replying], parts: Sequence[Crossed]) -> None:
    """Asks one respondent all that it has not replied to, turn by turn.

    Args:
      make: returns the respondent; called if there is anything to ask.
    """
    make = functools.cache(make)
    examples, turn = [e for part in parts for e in part.examples], 1
    while examples:
        left = [e for e in (_at(e, turn) for e in examples) if not _is_known(asking, name, e)]
        if left:
            replying = _known_as(asking, name, make())
            console.info(f"{name}: {len(left)} prompts are to be replied to")
            pieces = [left[i : i + PIECE] for i in range(0, len(left), PIECE)]
            for n, piece in enumerate(pieces):
                distributed.leave_if_preempted(f"before asking {name}")
                _piece(asking, name, replying, piece, f"{name} {n + 1}/{len(pieces)}")
        examples = [_gone_on(asking, name, e, turn) for e in examples if len(e.notes["turns"]) >= turn]
        turn += 1


def _at(example: Example, turn: int) -> Example:
    """Returns a prompt with its turn among its conditions, if there are several."""
    if not example.notes["turns"]:
        return example
    condition = example.notes["condition"] | {TURN: str(turn)}
    return example._replace(notes=example.notes | {"condition": condition})


def _gone_on(asking: Asking, name: str, example: Example, turn: int) -> Example:
    """Returns a dialogue with the reply to a turn, and what the user says next."""
    record = asking.records[_key(name, _at(example, turn))]
    text = record["replies"][0]["text"]
    if text is None:
        raise UserError(f"{asking.out}: dialogues go on from replies that were not kept; pass --keep-texts")
    said = ({"role": "user", "content": example.text}, {"role": "assistant", "content": text})
    return example._replace(messages=(*example.messages, *said), text=example.notes["turns"][turn - 1])


def _key(name: str, example: Example) -> Key:
    return answers.identity({"respondent": name} | example.notes)


def _is_known(asking: Asking, name: str, example: Example) -> bool:
    """Returns true for a prompt that was replied to; raises UserError if its words were others."""
    key = _key(name, example)
    if key not in asking.records:
        return False
    if asking.records[key]["asked"] != example.notes["asked"]:
        raise UserError(
            f"{asking.out / RECORDS}: {name} replied to row {key[1]!r} under {key[2]} when its words were others; pass "
            f"--out=ANOTHER, or remove these records"
        )
    return True


def _known_as(asking: Asking, name: str, replying: Replying) -> Replying:
    """Returns a respondent, noted as the one of its name."""
    said = {"about": replying.about}
    known = asking.about["respondents"].setdefault(name, said)
    if json.loads(json.dumps(known, default=str)) != json.loads(json.dumps(said, default=str)):
        raise UserError(f"{asking.out}: another {name} has replied here; pass --out=ANOTHER, or --model=NAME=PATH")
    return replying


def _piece(asking: Asking, name: str, replying: Replying, piece: Sequence[Example], what: str) -> None:
    """Asks for the replies to some prompts, has them judged, and writes the records."""
    found = dict(replying.replies(piece, asking.how, asking.stops, what))
    said = [
        (place, Written(example, r.prompt, r.text, r.reason, r.tokens, n))
        for place, example in enumerate(piece) for n, r in enumerate(found[place])
    ]  # fmt: skip
    records = [_record(asking, name, example) for example in piece]
    for (place, w), numbers in zip(said, judgements_of(asking.judges, [w for _, w in said]), strict=True):
        records[place]["replies"].append(
            {
                "text": w.text if asking.keeps_texts else None,
                "reason": w.reason,
                "tokens": w.tokens,
                "characters": len(w.text.strip()),
                "judgements": numbers,
            }
        )
    if distributed.is_primary():
        files.write_json(asking.out / ABOUT, asking.about)
        answers.append(asking.out / RECORDS, records)
    asking.records.update({answers.identity(r): r for r in records})


def judgements_of(judges: Sequence[Judge], replies: Sequence[Written]) -> list[dict[str, float | None]]:
    """Returns what each judge says of each reply, by its name."""
    said = {}
    for judge in judges:
        numbers = functools.partial(numbers_of, judge, replies)
        said[judge.name] = distributed.from_primary(numbers) if judge.on_primary else numbers()
    return [{name: numbers[n] for name, numbers in said.items()} for n in range(len(replies))]


def _record(asking: Asking, name: str, example: Example) -> Record:
    """Returns the record of a prompt, without replies."""
    notes, turns = example.notes, [dict(t) for t in example.messages]
    prompt = [*turns, {"role": "user", "content": example.text}] if turns else example.text
    return {
        "respondent": name, "id": example.id, "row": notes["row"], "condition": notes["condition"],
        "traits": notes["traits"], "groups": example.groups, "unit": notes["unit"], "target": notes["target"],
        "asked": notes["asked"], "prompt": prompt if asking.keeps_texts else None, "replies": [],
    } | ({"variables": notes["variables"]} if asking.keeps_texts and "variables" in notes else {})  # fmt: skip


def _example_of(record: Record) -> Example:
    """Returns the prompt of a record."""
    prompt = record["prompt"]
    notes = {"target": record.get("target") or [], "variables": record.get("variables") or {}}
    turns = prompt if isinstance(prompt, list) else []
    text = turns[-1]["content"] if turns else prompt or ""
    return Example(record["row"], "", ("",), (1.0,), text=text, messages=tuple(turns[:-1]), notes=notes)


def judge_again(asking: Asking, known: Mapping[str, Any]) -> None:
    """Has earlier replies judged by judges that have not seen them, or have become others, and writes all records.

    Args:
      known: what `questionnaire.json` said of its judges.
    """
    new = [j for j in asking.judges if {k: v for k, v in known.get(j.name, {}).items() if k != "agreement"} != j.about]
    records = list(asking.records.values())
    if not new or not records:
        return
    replies = [(r, reply) for r in records for reply in r["replies"]]
    if any(reply["text"] is None for _, reply in replies):
        raise UserError(
            f"{asking.out}: {new[0].name} has not judged these replies, whose texts were not kept; pass --out=ANOTHER"
        )
    console.info(f"{len(replies)} earlier replies are judged by {', '.join(j.name for j in new)}")
    asked = [Written(_example_of(r), "", reply["text"], reply["reason"], reply["tokens"]) for r, reply in replies]
    for (_, reply), numbers in zip(replies, judgements_of(new, asked), strict=True):
        reply["judgements"] |= numbers
    if distributed.is_primary():
        files.write_jsonl(asking.out / RECORDS, records)
        files.write_json(asking.out / ABOUT, asking.about)
