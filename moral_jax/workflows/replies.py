"""Asks respondents the prompts of a folder, judges what they write, and counts: prompts x conditions -> judged replies.

OUT/records.jsonl      every reply with its judgements, appended as it comes: `runs.judged`
OUT/questionnaire.json what was asked, who replied, who judged
OUT/tally.json         the numbers
OUT/report.html, .md   the page

What was replied to already is not asked again. Null respondents, which read nothing, reply to the same prompts and are
judged by the same judges; so are people, where rows hold what they wrote. Other judges judge the same replies again.
"""

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from moral_jax.analysis.tallies import count
from moral_jax.config import Config
from moral_jax.config.sample import SampleConfig
from moral_jax.config.task import TaskConfig
from moral_jax.judges import table
from moral_jax.judges.base import Judge
from moral_jax.report import page
from moral_jax.respondents.base import Reply, Replying
from moral_jax.respondents.scripted import ScriptedReplier
from moral_jax.runs.directory import RunDirectory
from moral_jax.runs.origin import NOT_BEGUN
from moral_jax.runtime import distributed, files
from moral_jax.tasks.questionnaire import conditions, cross, folder, prompts
from moral_jax.tasks.questionnaire.cross import Crossed
from moral_jax.tasks.questionnaire.folder import Folder, Replies
from moral_jax.types import Example, UserError
from moral_jax.workflows import agreeing, judging, replying
from moral_jax.workflows.asking import Who, locked
from moral_jax.workflows.evaluate import TRUSTS, local_respondent, on_texts
from moral_jax.workflows.questionnaire import Asked, shown
from moral_jax.workflows.replying import Asking
from moral_jax.workflows.tally import ABOUT, about_of, tally

NULLS = ("refuse", "comply", "echo")
PEOPLE = "people"


class How(NamedTuple):
    """How a folder is asked, where that is not as its task.toml says."""

    judges: Sequence[str] = ()  # in place of the folder's own
    judge_model: str = ""  # who answers rubrics that name nobody
    labels: Sequence[str] = ()  # files with labels of people, as of `agreeing.of_judges`
    keeps_texts: bool = False
    sample: Mapping[str, Any] = {}  # samples, max_tokens, temperature, seed


def read(
    name: str, chosen: Mapping[str, list[str]], limit: int | None = None, rows: str | None = None,
    human: str | None = None, column: str | None = None, *, per_group: int | None = None, drops_bad: bool = False,
) -> Asked:  # fmt: skip
    """Reads and checks a folder of prompts; arguments as of `questionnaire.read` and `prompts.read`.

    Args:
      column: of `rows`, that holds the prompt.

    Raises:
      UserError: anything is wrong with it; names file, line and field.
    """
    task = folder.read(name)
    assert task.replies is not None, "checked by the caller"
    count.check_settings(task.tally, task.settings, str(task.path / folder.TASK))
    if column:
        task = dataclasses.replace(task, replies=dataclasses.replace(task.replies, prompt=column))
    axes = conditions.choose(conditions.read(task), task, chosen)
    for of_axis in axes.values():
        for c in of_axis:
            if c.question or c.options or c.has_gold:
                raise UserError(f"{c.where}: question, options and gold are of questions; these rows are prompts")
    found = prompts.read(task, rows, human, limit, per_group=per_group, drops_bad=drops_bad)
    if rows:  # they are not the folder's own
        own = f"rows: {Path(rows).name}"
        harmful = task.harmful or (task.replies is not None and task.replies.hides)
        task = dataclasses.replace(task, sample=False, licence="the rows' own", attribution=own, harmful=harmful)
    return Asked(task, cross.cross(found, axes, None))


def prompts_of(asked: Asked) -> list[str]:
    """Returns the first, the middle and the last of the prompts, without chat template; their ids alone where they ask
    for harm."""
    examples = [example for part in asked.parts for example in part.examples]
    out = []
    for e in shown(examples):
        turns = [*e.messages, {"role": "user", "content": e.text}]
        said = ["(not shown)"] if asked.folder.harmful else [f"[{t['role']}] {t['content']}" for t in turns]
        out.append("\n".join([e.id, *said]))
    return out


def config_for(config: Config, task: Folder) -> Config:
    """Returns a config that replies to prompts: its model, its system message, and no template of its own task."""
    assert task.replies is not None, "checked by the caller"
    prompt = dataclasses.replace(config.prompt, template=None, ask=None, format="plain" if task.replies.plain else None)
    return on_texts(dataclasses.replace(config, prompt=prompt), TaskConfig(name="prompts"))


def _replying(who: Who, task: Folder) -> Replying:
    """Returns a respondent; raises UserError if it writes no replies."""
    kind, name = who.config.respondent.kind, who.config.respondent.name
    if kind == "scripted":
        return ScriptedReplier(str(name))
    if kind != "local":
        raise UserError(
            f"{who.name}: config.respondent.kind={kind!r}: only a local model or scripted:NAME writes replies"
        )
    if who.config.model.head != "vocabulary":
        raise UserError(f"{who.name}: config.model.head={who.config.model.head!r}: writes no texts")
    respondent, _ = local_respondent(
        config_for(who.config, task), RunDirectory(who.run) if who.run else None, NOT_BEGUN
    )
    return respondent


def written_in(example: Example) -> dict[str, str]:
    """Returns the replies that a row holds: what people wrote, and what they chose and rejected."""
    human = example.notes["human"]
    return ({PEOPLE: human} if human else {}) | example.notes.get("pair", {})


class People:
    """Replies that rows hold, as if somebody gave them."""

    def __init__(self, name: str):
        """Takes the replies that stand in the rows under a name."""
        self.name = name

    @property
    def about(self) -> dict[str, Any]:
        """Where its replies come from."""
        return {"path": self.name, "description": "what people wrote or chose, as the rows hold it"}

    def replies(self, examples: Sequence[Example], how: SampleConfig, stops: Sequence[str], what: str):
        """Yields (place of a row, what people wrote)."""
        for place, example in enumerate(examples):
            yield place, [Reply(example.text, written_in(example)[self.name], "end", None)]


def sampling(own: Replies, said: Mapping[str, Any]) -> SampleConfig:
    """Returns how replies are written.

    Args:
      said: samples, max_tokens, temperature, seed, where they are not the folder's.
    """
    fields = ("samples", "max_tokens", "temperature", "top_p", "seed")
    values = {name: getattr(own, name) for name in fields} | dict(said)
    try:
        return SampleConfig(n=values.pop("samples"), **values)
    except UserError as e:
        raise UserError(str(e).replace("config.rollout.sample.", "replies.")) from None


def ask(asked: Asked, respondents: Sequence[Who], out: Path, how: How, resamples: int = 1000) -> page.Written:
    """Asks all respondents and null respondents, judges, and writes records, numbers and page.

    Args:
      out: a new directory, or one that the same folder has begun.
      resamples: of the bootstrap.

    Raises:
      UserError: `out` holds something else, somebody writes no replies, a judge is none or says one thing only, or
        rows were asked in other words before.
    """
    task = asked.folder
    assert task.replies is not None, "checked by the caller"
    judges = _judges(task, how)
    agreements = agreeing.of_judges(judges, how.labels)
    sample = sampling(task.replies, how.sample)
    if sample.n > 1 and any(e.notes["turns"] for part in asked.parts for e in part.examples):
        raise UserError("several replies to each prompt cannot be gone on from; ask dialogues with --samples=1")
    with locked(out):
        about = about_of(out, task)
        about["harmful"] = task.harmful or bool(about.get("harmful"))  # what was kept once is not shown later
        about["own_judges"] = _own_judges(judges, how, respondents)
        about["sampling"] = _same(about, "sampling", dataclasses.asdict(sample), out)
        known = about.get("judges") or {}
        about["judges"] = {j.name: j.about | {"agreement": a} for j, a in zip(judges, agreements, strict=True)}
        keeps = how.keeps_texts or not about["harmful"]
        earlier = distributed.from_primary(functools.partial(replying.earlier, out))
        asking = Asking(out, about, sample, task.replies.stop, judges, keeps, earlier)
        replying.judge_again(asking, known)
        named = {who.name: functools.partial(_replying, who, task) for who in respondents}
        nulls = {f"scripted:{n}": functools.partial(ScriptedReplier, n) for n in NULLS if f"scripted:{n}" not in named}
        about["nulls"] = list(nulls)
        for name, make in (named | nulls).items():
            replying.ask(asking, name, make, asked.parts)
        for name in (PEOPLE, *prompts.PAIR):
            held = [Crossed(p.name, [e for e in p.examples if name in written_in(e)]) for p in asked.parts[:1]]
            if held and held[0].examples:
                replying.ask(asking, name, functools.partial(People, name), held)
        if not distributed.is_primary():
            return page.Written(out / "report.html", "", "")
        files.write_json(out / ABOUT, about)
        return tally(out, None, resamples)


def _judges(task: Folder, how: How) -> list[Judge]:
    """Returns the judges that are named, or else the folder's own; raises UserError if these are none, or programs."""
    assert task.replies is not None, "checked by the caller"
    behind, own = judging.behind(how.judge_model), task.replies.judges
    if how.judges:
        return table.parse_several(how.judges, behind)
    where = f"{task.path / folder.TASK}: replies.judges"
    if not own:
        raise UserError(f"{where}: names no judge; pass --judge=NAME")
    if any(map(table.is_program, own)) and not os.environ.get(TRUSTS):
        raise UserError(
            f"{where}: {', '.join(own)}: names a program, and folders may come from anybody; read it, then set "
            f"{TRUSTS}=1"
        )
    return table.parse_several(own, behind, where, task.path)


def _own_judges(judges: Sequence[Judge], how: How, respondents: Sequence[Who]) -> list[str]:
    """Returns the rubrics that a respondent answers about itself."""
    models = {f"run:{who.run}" if who.run else who.config.model.path for who in respondents}
    asked = {j.name: j.name.partition("@")[2] or how.judge_model for j in judges if j.name.startswith("rubric:")}
    return [name for name, who in asked.items() if who in models]


def _same(about: Mapping[str, Any], key: str, value: Any, out: Path) -> Any:
    """Returns a setting that must not change between calls."""
    if about.get("respondents") and about.get(key) != value:
        raise UserError(f"{out}: replies were written with another {key}: {about.get(key)}; pass --out=ANOTHER")
    return value
