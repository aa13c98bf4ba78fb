"""Asks respondents a questionnaire: rows x conditions -> records, numbers, page.

OUT/records.jsonl      every answer, appended as it comes: `runs.answers`
OUT/questionnaire.json what was asked and who answered
OUT/tally.json         the numbers
OUT/report.html, .md   the page

What is answered already is not asked again, so a killed run goes on, and a condition or respondent that is added later
costs only itself.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from moral_jax.analysis import rules
from moral_jax.analysis.tallies import count
from moral_jax.config import Config
from moral_jax.config.task import TaskConfig
from moral_jax.prompts import render
from moral_jax.report.page import Written
from moral_jax.respondents.api.cost import Budget
from moral_jax.respondents.base import Reading, Respondent, asks_of
from moral_jax.runs import answers
from moral_jax.runs.answers import RECORDS
from moral_jax.runs.directory import RunDirectory
from moral_jax.runs.records import Asks, Record, make_records
from moral_jax.runtime import console, distributed, files, places
from moral_jax.tasks.questionnaire import conditions, cross, folder, labels, questions
from moral_jax.tasks.questionnaire.cross import Crossed
from moral_jax.tasks.questionnaire.folder import Folder
from moral_jax.types import UserError
from moral_jax.workflows.evaluate import check_answers_questions, respondent_of
from moral_jax.workflows.tally import ABOUT, WITHOUT_ANSWERS, about_of, tally

PIECE = 256  # questions that are asked before their answers are written


class Who(NamedTuple):
    """A respondent that is asked."""

    name: str
    config: Config
    run: Path | None


class Asked(NamedTuple):
    """A questionnaire and what of it is asked."""

    folder: Folder
    parts: list[Crossed]

    @property
    def size(self) -> int:
        """The number of questions."""
        return sum(len(part.examples) for part in self.parts)


def read(
    name: str, chosen: Mapping[str, list[str]], limit: int | None = None, rows: str | None = None,
    map_path: str | None = None, *, drops_bad: bool = False,
) -> Asked:  # fmt: skip
    """Reads and checks a questionnaire.

    Args:
      name: a folder, or the name of a shipped one.
      chosen: the conditions that are asked, by axis; of other axes all.
      limit: ask so many rows only, those that come first.
      rows: a table in place of the folder's rows.
      map_path: a table in place of the folder's map.
      drops_bad: leave bad rows out.

    Raises:
      UserError: anything is wrong with it; names file, line and field.
    """
    task = folder.read(name)
    folder.only_asked(task, name)
    if task.tally in WITHOUT_ANSWERS:
        raise UserError(f"{name}: nobody needs to answer it; count it: moral-jax tally {name} --out=DIR")
    axes = conditions.choose(conditions.read(task), task, chosen)
    found = questions.read(task, rows, drops_bad=drops_bad)
    labelled = None
    if task.labels:
        own = task.path / task.labels.file
        path = map_path or (str(own) if own.exists() else task.labels.file)
        labelled = labels.read(path, task.labels.tag, task.labels.columns, task.labels.once)
    count.check_settings(task.tally, task.settings, str(task.path / folder.TASK))
    rules.get(task.surface)
    if rows:  # they are not the folder's own
        task = dataclasses.replace(task, sample=False, licence="the rows' own", attribution=f"rows: {Path(rows).name}")
    return Asked(task, cross.cross(found[:limit], axes, labelled))


def config_for(config: Config, task: Folder) -> Config:
    """Returns a config that asks a questionnaire: its orders, and its template unless the config's own is of questions.

    A run keeps what belongs to its model, such as system message and labels; its own task's template does not fit.
    """
    prompt, ask = config.prompt, config.prompt.ask_for(config.model.head)
    template = task.template if ask == "together" else task.template.replace("{options}", "{option}")
    if config.model.head == "text":
        template = task.template.replace("{options}", "").strip()
    prompt = dataclasses.replace(
        prompt,
        template=template,
        orders=task.orders,
        format=None if prompt.format == "paper" else prompt.format,
    )
    return dataclasses.replace(config, prompt=prompt, task=TaskConfig(name="votes", scale=task.scale))


def prompts(asked: Asked, config: Config) -> list[str]:
    """Returns the first, the middle and the last of the messages that will be sent, without chat template."""
    examples, out = [example for part in asked.parts for example in part.examples], []
    for place in dict.fromkeys((0, len(examples) // 2, len(examples) - 1)):
        example = examples[place]
        turns, _ = render.conversation(config.prompt, example, tuple(range(len(example.options))))
        said = "\n".join(f"[{turn['role']}] {turn['content']}" for turn in turns)
        out.append(f"{example.id}\n{said}\n[answer] {render.answer_prefix(config.prompt)}")
    return out


def ask(asked: Asked, respondents: Sequence[Who], out: Path, budget: Budget, resamples: int = 1000) -> Written:
    """Asks all respondents, and writes records, numbers and page.

    Args:
      out: a new directory, or one that the same questionnaire has begun.
      budget: what an API may cost.
      resamples: of the bootstrap.

    Raises:
      UserError: `out` holds something else, a respondent cannot answer, or rows were asked in other words before.
    """
    return answered(asked, respondents, out, budget, lambda: tally(out, None, resamples))


def answered(
    asked: Asked, respondents: Sequence[Who], out: Path, budget: Budget, count: Callable[[], Written]
) -> Written:
    """Asks all respondents as `ask` does, writes records, and returns what `count` makes of them."""
    places.check_workdir(out)
    with files.storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with files.lock(out / "lock") as held:
        if held is None:
            raise UserError(f"{out}: {files.owner(out / 'lock')} works here already; wait, or pass --out=ANOTHER")
        about = about_of(out, asked.folder)
        for who in respondents:
            _ask_one(asked, who, out, budget, about)
        if not distributed.is_primary():
            return Written(out / "report.html", "", "")
        return count()


def _left(asked: Asked, who: Who, out: Path) -> list[Crossed]:
    """Returns what is still to be asked, in pieces.

    Raises:
      UserError: a row was asked in other words before.
    """
    path = out / RECORDS
    answers.mend(path)
    done = {}
    for record in answers.read(path) if path.exists() and path.stat().st_size else []:
        if record["respondent"] == who.name:
            done[answers.identity(record)[1:]] = record.get("asked")
    pieces = []
    for part in asked.parts:
        left = []
        for example in part.examples:
            key = answers.identity({"respondent": who.name} | example.notes)[1:]
            if key not in done:
                left.append(example)
            elif done[key] != example.notes["asked"]:
                raise UserError(
                    f"{path}: {who.name} answered row {key[0]!r} under {key[1]} when its words, right option, tags, "
                    f"labels or groups were others; pass --out=ANOTHER, or remove these records"
                )
        name = part.name or "rows"
        pieces += [Crossed(f"{name} {i + 1}", left[i : i + PIECE]) for i in range(0, len(left), PIECE)]
    return pieces


def _who_can_choose(who: Who) -> Config:
    """Returns the config of a respondent; raises UserError for one that a questionnaire cannot be put to."""
    if who.config.respondent.kind == "baseline":
        raise UserError(f"{who.name}: a baseline is fitted to rows with votes; use it with moral-jax eval")
    check_answers_questions(who.config, RunDirectory(who.run) if who.run else None)
    return who.config


def _ask_one(asked: Asked, who: Who, out: Path, budget: Budget, about: dict[str, Any]) -> None:
    """Asks one respondent what it has not answered yet."""
    config = config_for(_who_can_choose(who), asked.folder)
    respondent, _ = respondent_of(config, budget, RunDirectory(who.run) if who.run else None)
    known = about["respondents"].get(who.name) or {}
    said = {"about": respondent.about, "prompt": dataclasses.asdict(config.prompt)}
    if known and (known.get("about"), known.get("prompt")) != (said["about"], said["prompt"]):
        raise UserError(
            f"{out}: another {who.name} has answered here, or with another prompt; pass --out=ANOTHER, or another "
            f"name: --model=NAME=PATH"
        )
    pieces = distributed.from_primary(lambda: _left(asked, who, out))
    if not pieces:
        console.info(f"{who.name}: has answered all {asked.size} questions")
        return
    by_name = {piece.name: asks_of(respondent, piece.examples, config.orders_of) for piece in pieces}
    console.info(f"{who.name}: {sum(len(p.examples) for p in pieces)} of {asked.size} questions are to be asked")
    respondent.prepare(by_name)
    tokens = dict(known.get("tokens") or {})
    about["respondents"][who.name] = said | {"tokens": tokens}
    for name, asks in console.progress(by_name.items(), desc=f"asking {who.name}", unit="part"):
        distributed.leave_if_preempted(f"before asking {name}")
        records = make_records(asks, respondent.choose(asks, name))
        _add_tokens(tokens, respondent, asks)
        if distributed.is_primary():
            files.write_json(out / ABOUT, about)
            answers.append(out / RECORDS, [_named(record, who.name) for record in records])


def _named(record: Record, name: str) -> Record:
    return {"respondent": name} | {k: v for k, v in record.items() if k not in ("second_counts", "keys")}


def _add_tokens(tokens: dict[str, int], respondent: Respondent, asks: Asks) -> None:
    """Counts what a local model has read, and what it would have read without shared beginnings."""
    if isinstance(respondent, Reading):
        read_, alone = respondent.tokens(asks)
        tokens["read"] = tokens.get("read", 0) + read_
        tokens["alone"] = tokens.get("alone", 0) + alone


def chosen_conditions(said: Iterable[str]) -> dict[str, list[str]]:
    """Returns axis -> ids of AXIS=ID,ID flags.

    Raises:
      UserError: a flag is not of that form.
    """
    out: dict[str, list[str]] = {}
    for one in said:
        axis, equals, names = one.partition("=")
        if not (axis and equals and names):
            raise UserError(f"--condition={one}: expected AXIS=ID,ID ...")
        out.setdefault(axis, []).extend(name for name in names.split(",") if name)
    return out
