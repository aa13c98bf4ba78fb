"""Teaches an examinee what was said: one lesson is one ordinary run whose model is the examinee as it was before.

FOLDER/rows.jsonl    what is taught
FOLDER/run/          the run
FOLDER/shares.json   in place of these, the shares of who has no weights

A scripted respondent has no weights: its shares move towards what it is taught, each epoch by the same part of the way.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from moral_jax.analysis.progress import Shares, as_shares, pairs
from moral_jax.config import Config
from moral_jax.config.model import RUN as RUN_PREFIX
from moral_jax.config.respondent import RespondentConfig
from moral_jax.config.task import TaskConfig
from moral_jax.prompts import render
from moral_jax.runs.directory import read_config
from moral_jax.runs.records import Record
from moral_jax.runtime import files
from moral_jax.runtime.files import write_jsonl
from moral_jax.tasks.questionnaire.folder import Folder
from moral_jax.types import Example, UserError
from moral_jax.workflows.asking import Who, config_for

MOST_COPIES = 5  # of a pair, however far an extrapolated vote lies outside [-1, 1]
RUN, ROWS, SHARES = "run", "rows.jsonl", "shares.json"
Rows = Callable[[Sequence[Example], Shares, Config], Iterator[Record]]


class Objective(NamedTuple):
    """How what was said becomes rows and a loss."""

    rows: Rows
    task: str
    loss: str | None  # of the config's objective; None: the config's own
    head: Literal["vocabulary", "text"]  # where the examinee is read when it is asked
    answer_prefix: str | None  # what its answers begin with; None: as the config says


class Pupil(NamedTuple):
    """Who learns, and what it says now, where that is known without asking."""

    who: Who
    said: Shares | None


class School(NamedTuple):
    """What all lessons have in common."""

    folder: Folder
    examples: Sequence[Example]  # all questions, under every condition that is asked
    rows: frozenset[str]  # the rows that are taught; others are held out
    config: Config  # how is trained
    objective: str
    rate: float  # of shares: the part of the way that an epoch moves them

    @property
    def taught(self) -> list[Example]:
        """The questions that are taught."""
        return [e for e in self.examples if e.notes["row"] in self.rows]


def _asked(examples: Sequence[Example], said: Shares, config: Config) -> Iterator[Record]:
    """Yields rows of votes: the shares of each question, as it is asked."""
    shares = as_shares(said)
    for e in examples:
        own = {"messages": list(e.messages)} if e.messages else {}
        texts = {name: value for name in ("title", "text") if (value := getattr(e, name))}
        counts = shares[e.notes["row"]].tolist()
        yield {"id": e.id, "question": e.question, "options": list(e.options), "counts": counts} | texts | own


def _preferred(examples: Sequence[Example], said: Shares, config: Config) -> Iterator[Record]:
    """Yields preferences between the answers of each pair: the sign of a vote is their order, its size, rounded and at
    most 5, says how often it comes; a vote of 0 is left out."""
    without_system = dataclasses.replace(config.prompt, system=None)  # the run adds its own
    for e in examples:
        votes = np.atleast_1d(said[e.notes["row"]])
        turns, _ = render.conversation(without_system, e, tuple(range(len(e.options))))
        for (i, j), vote in zip(pairs(len(e.options)), votes, strict=True):
            chosen, rejected = (i, j) if vote > 0 else (j, i)
            for copy in range(min(MOST_COPIES, round(abs(float(vote))))):
                yield {"id": f"{e.id} {i} {j} {copy}", "prompt": [dict(turn) for turn in turns],
                       "chosen": e.options[chosen], "rejected": e.options[rejected]}  # fmt: skip


OBJECTIVES: dict[str, Objective] = {
    "shares": Objective(_asked, "votes", None, "vocabulary", None),
    "dpo": Objective(_preferred, "preferences", "dpo", "text", ""),
}


def read_where_taught(config: Config, objective: str) -> Config:
    """Returns a config that reads an examinee where an objective teaches it: the labels of options, or whole answers as
    replies."""
    of = OBJECTIVES[objective]
    prefix = config.prompt.answer_prefix if of.answer_prefix is None else of.answer_prefix
    prompt = dataclasses.replace(config.prompt, answer_prefix=prefix)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, head=of.head), prompt=prompt)


def is_table(config: Config) -> bool:
    """Returns true for who has no weights here."""
    return config.respondent.kind != "local"


def table(name: str, path: Path) -> Who:
    """Returns who says the shares of a file."""
    respondent = RespondentConfig(kind="scripted", name=f"leaning?file={path}")
    return Who(name, dataclasses.replace(Config(), respondent=respondent), None)


def write_shares(path: Path, said: Shares, examples: Sequence[Example]) -> None:
    """Writes shares as `scripted:leaning?file=` reads them."""
    options = {e.notes["row"]: e.options for e in examples}
    of_rows = {row: dict(zip(options[row], np.asarray(p_C).tolist(), strict=True)) for row, p_C in said.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, of_rows)


def _moved(said: Shares, taught: Shares, rows: frozenset[str], rate: float, epochs: int) -> Shares:
    """Returns shares after some epochs of being taught others: p + (1 - (1 - rate)^epochs) (q - p)."""
    shares, part = as_shares(taught), 1 - (1 - rate) ** epochs
    return {row: p_C + part * (shares[row] - p_C) if row in rows else p_C for row, p_C in said.items()}


def begins_with(who: Who, config: Config) -> Config:
    """Returns a config whose model is what somebody is: the model it names, or the run that has trained it."""
    model = dataclasses.replace(who.config.model, head=config.model.head)
    if who.run is None:
        return dataclasses.replace(config, model=model)
    adapter = dataclasses.replace(who.config.adapter, path=None)  # the same ones are trained further
    return dataclasses.replace(config, model=dataclasses.replace(model, path=f"{RUN_PREFIX}{who.run}"), adapter=adapter)


def _training(config: Config, school: School, rows: Path, epochs: int | None) -> Config:
    """Returns the config of a lesson: the questions as they are asked, all rows trained on, the last weights kept."""
    objective, asked = OBJECTIVES[school.objective], config_for(config, school.folder)
    loss = dataclasses.replace(config.objective, name=objective.loss or config.objective.name)
    prompt = asked.prompt
    if objective.task != "votes":  # rows are whole conversations
        prompt = dataclasses.replace(prompt, template=None, orders=None)
    return dataclasses.replace(
        asked,
        model=dataclasses.replace(config.model, head="vocabulary"),
        prompt=prompt,
        task=TaskConfig(objective.task, str(rows), validation=0.0, test=0.0, scale=school.folder.scale),
        objective=loss,
        train=dataclasses.replace(config.train, epochs=epochs or config.train.epochs, select="last"),
        eval=dataclasses.replace(config.eval, initial=False),
    )


def learn(pupil: Pupil, taught: Shares, folder: Path, school: School, epochs: int | None = None) -> Pupil:
    """Returns somebody after a lesson; what of it is done already is not done again.

    Args:
      taught: shares of the options of every row, or votes on their pairs, as the objective reads them.
      folder: of the lesson.
      epochs: default: those of the config.
    """
    who = pupil.who
    if is_table(who.config):
        assert pupil.said is not None, "known of who has no weights"
        moved = _moved(pupil.said, taught, school.rows, school.rate, epochs or school.config.train.epochs)
        write_shares(folder / SHARES, moved, school.examples)
        return Pupil(table(who.name, folder / SHARES), moved)
    from moral_jax.workflows import train

    with files.storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    config = begins_with(who, school.config)
    asked = config_for(config, school.folder)
    rows_of = list(OBJECTIVES[school.objective].rows(school.taught, taught, asked))
    if not rows_of:
        raise UserError(
            f"{folder}: nothing is preferred in any row, so there is nothing to learn; use --objective=shares"
        )
    write_jsonl(folder / ROWS, rows_of)
    train.train(_training(config, school, folder / ROWS, epochs), folder / RUN)
    return Pupil(learned(who.name, folder, school), None)


def learned(name: str, folder: Path, school: School) -> Who:
    """Returns who a finished lesson has made."""
    if (folder / SHARES).exists():
        return table(name, folder / SHARES)
    return Who(name, read_where_taught(read_config(folder / RUN), school.objective), folder / RUN)
