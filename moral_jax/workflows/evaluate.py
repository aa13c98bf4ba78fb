"""An evaluation: whoever answers, the records of a stage are made here, and a run without training is done here."""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from moral_jax.analysis.calibrate import Calibration
from moral_jax.config import Config, parsing
from moral_jax.config.respondent import model_flags
from moral_jax.config.task import TaskConfig
from moral_jax.judges import table
from moral_jax.report import page
from moral_jax.respondents.api.cost import Budget
from moral_jax.respondents.base import Interview, Respondent, Weighing, asks_of, is_weighed
from moral_jax.respondents.scripted import ScriptedRespondent
from moral_jax.runs import directory, origin
from moral_jax.runs.directory import ANSWERS, TRAINED, RunDirectory
from moral_jax.runs.origin import NOT_BEGUN, Provenance
from moral_jax.runs.records import Asks, Record, make_records, read_jsonl
from moral_jax.runs.text_records import make_text_records, read_text_jsonl
from moral_jax.runtime import distributed, jax_setup, places
from moral_jax.runtime.console import info
from moral_jax.runtime.files import storage_errors, write_jsonl
from moral_jax.tasks import load as task_rows
from moral_jax.tasks import registry
from moral_jax.types import UserError
from moral_jax.workflows import provenance
from moral_jax.workflows.summarise import calibration_of, summarise, summarise_replies, summarise_texts

if TYPE_CHECKING:
    from moral_jax.respondents.baselines.respondent import Reader
    from moral_jax.respondents.embedder import Embedder
    from moral_jax.respondents.local import LocalRespondent


class Answers(NamedTuple):
    """How the answers of a kind become records."""

    make: Callable[[Asks, str], list[Record]]  # (what is asked, its name in progress bars) -> a record per example
    read: Callable[[Path], list[Record]]


def answers_of(respondent: Respondent, *, weighs: bool) -> Answers:
    """Returns a respondent's answers: log-probabilities of texts if it `weighs`, shares of options otherwise."""
    if not weighs:
        return Answers(lambda asks, what: make_records(asks, respondent.choose(asks, what)), read_jsonl)
    assert isinstance(respondent, Weighing), "checked by the caller"
    weigh = respondent.weigh
    return Answers(lambda asks, what: make_text_records(asks, weigh(asks, what)), read_text_jsonl)


def answer(answers: Answers, splits: Mapping[str, Asks], folder: Path) -> None:
    """Writes the records of each split to `folder`, unless they are there: the one way to fill a stage.

    All processes ask, the primary writes.
    """

    def is_complete(split: str) -> bool:
        """Returns false for a file that was cut, by whomever: it is written again."""
        try:
            records = answers.read(folder / f"{split}.jsonl")
        except (FileNotFoundError, UserError):
            return False
        return [r["id"] for r in records] == [e.id for e in splits[split].examples]

    for split in distributed.from_primary(lambda: [s for s in splits if not is_complete(s)]):
        distributed.leave_if_preempted(f"before scoring {split} {folder.name}")
        records = answers.make(splits[split], f"{split} {folder.name}")
        if distributed.is_primary():
            with storage_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
            write_jsonl(folder / f"{split}.jsonl", records)


Origin = Callable[[dict[str, Any]], dict[str, Any]]  # what a task says of its rows -> provenance


def local_respondent(config: Config, run: RunDirectory | None, began: Provenance) -> tuple["LocalRespondent", Origin]:
    """Returns the model of a config; with `run`, the weights that the run stands for."""
    from moral_jax.respondents.local import LocalRespondent, Scoring
    from moral_jax.workflows import local_model

    jax_setup.configure()
    model = origin.read(run.path).get("model", {}) if run else began.get("model", {})
    files = local_model.find_model(config, began=began | {"model": model})
    initial = local_model.InitialParams(config, files)
    load, about_model = initial.for_scoring, functools.cache(lambda: provenance.about_model(config, files))
    about: Callable[[], dict[str, Any]] = about_model
    if run:
        provenance.check_model(config, files, run, about_model)
        load = local_model.params_for_scoring(config, initial, run)
        about = functools.partial(local_model.about_run, about_model, config, run)
    respondent = LocalRespondent(Scoring(config, files), load, about)
    return respondent, lambda data: provenance.of_local(files, respondent.about, data, respondent.scoring.sha256)


def _dataset(config: Config) -> task_rows.Dataset:
    data = task_rows.load(config.task)
    info(str(data.provenance["description"]))
    return data


def _other(config: Config, data: task_rows.Dataset | None, budget: Budget) -> Respondent:
    """Returns the respondent of a config that is no local model."""
    who, concentration = config.respondent, config.objective.initial_concentration
    assert who.name is not None, "checked by the config"
    if who.kind == "scripted":
        return ScriptedRespondent(who.name, concentration)
    if who.kind == "api":
        from moral_jax.respondents.api.respondent import ApiRespondent

        study_prompt = registry.get(config.task.name).study_prompt
        return ApiRespondent(who, config.prompt, study_prompt, concentration, budget)
    from moral_jax.respondents.baselines import registry as baselines
    from moral_jax.respondents.baselines.respondent import BaselineRespondent

    data = data or _dataset(config)
    reader = _reader(config) if baselines.get(who.name, data.voted).reads else None
    return BaselineRespondent(who.name, data.voted, data.validation, config.train.seed, concentration, reader)


def _reader(config: Config) -> "Reader":
    """Returns the frozen model that a baseline reads with: that of config.model."""
    from moral_jax.respondents.baselines.respondent import Reader

    embedder = embedder_of(config)
    return Reader(embedder, provenance.about_model(config, embedder.files))


def embedder_of(config: Config) -> "Embedder":
    """Returns the model of a config as one that reads texts as vectors; loads no weights."""
    from moral_jax.respondents.embedder import Embedder
    from moral_jax.workflows import local_model

    jax_setup.configure()
    files = local_model.find_model(config)
    return Embedder(config, files, local_model.InitialParams(config, files).for_scoring)


def respondent_of(
    config: Config,
    budget: Budget,
    run: RunDirectory | None = None,
    data: task_rows.Dataset | None = None,
    began: Provenance = NOT_BEGUN,
) -> tuple[Respondent, Origin]:
    """Returns whoever a config names, and what a run records of where its numbers come from.

    Args:
      budget: what an API may cost.
      run: answer with the weights that this run stands for.
      data: the task's rows, if they are read already; baselines are fitted to its training rows.
      began: the provenance of the evaluation, if it goes on.
    """
    if config.respondent.kind == "local":
        return local_respondent(config, run, began)
    respondent = _other(config, data, budget)
    return respondent, lambda about: provenance.of_other(respondent, about)


def check_answers_questions(config: Config, run: RunDirectory | None) -> None:
    """Raises UserError for a reward model, which reads whole replies."""
    if config.model.head == "score" and registry.get(config.task.name).kind != "votes":
        where = f" --run={run.path}" if run else ""
        raise UserError(f"a reward model scores replies and answers no questions; use moral-jax score{where} FILE")


def interview(config: Config, budget: Budget, run: RunDirectory | None = None) -> Interview:
    """Returns whoever a config names, to be asked one question after the other.

    What was trained on texts answers questions too, by the labels of their options.

    Raises:
      UserError: it is a reward model, which reads whole replies.
    """
    check_answers_questions(config, run)
    if registry.get(config.task.name).kind != "votes":
        config = dataclasses.replace(config, task=TaskConfig(name="votes"))
    respondent, _ = respondent_of(config, budget, run)
    return Interview(respondent, config.orders_of)


def evaluate(
    config: Config, out: Path, budget: Budget, path: str | None = None, run: RunDirectory | None = None
) -> page.Written:
    """Asks a respondent about rows and writes a run directory: config, provenance, records, numbers, page.

    Args:
      config: names task and respondent.
      out: a new directory, or one that the same evaluation has begun.
      budget: what an API may cost.
      path: a file of rows in the task's format; default: the task's validation and test rows.
      run: answer with the weights that this run stands for, and its calibration.

    Raises:
      UserError: `out` holds something else already, a row is bad, or the respondent cannot answer.
    """
    places.check_workdir(out)
    places.check_local("--path", path)
    data = _dataset(config) if path is None else None
    if data is None:
        rows, about = task_rows.of_one_file(str(path), config.task)
    else:
        rows, about = data.scored, data.provenance
        if not rows:
            raise UserError("nothing to score: config.task.validation and config.task.test are 0")
    weighs, writes = is_weighed(config), registry.get(config.task.name).kind == "prompts"
    if (weighs or writes) and config.respondent.kind != "local":
        what = "write replies that are rewarded" if writes else "say how likely texts are"
        raise UserError(
            f"config.respondent.kind={config.respondent.kind!r}: cannot {what}, as task {config.task.name!r} asks; use "
            f"--model=PATH or --run=DIR"
        )
    respondent, origin_of = respondent_of(config, budget, run, data, origin.read(out))
    splits = {split: asks_of(respondent, examples, config.orders_of) for split, examples in rows.items()}
    if writes:
        answers = _replies_of(respondent, config, run)
    else:
        respondent.prepare(splits)
        answers = answers_of(respondent, weighs=weighs)
    with directory.claim(config, out, [ANSWERS]) as evaluation:
        origin.record(out, origin_of(about))
        answer(answers, splits, evaluation.stage(ANSWERS))
        origin.record(out, origin_of(about))  # an API has said more of itself by now
        train = data.voted if data is not None else []
        if writes:
            written = summarise_replies(evaluation, list(splits), config)
        elif weighs:
            written = summarise_texts(evaluation, list(splits), config, beta=None)
        else:
            written = summarise(evaluation, list(splits), train, config, _calibration(run))
    assert written is not None, "a run without splits"
    return written


def _replies_of(respondent: Respondent, config: Config, run: RunDirectory | None) -> Answers:
    """Returns the replies of a local model, with the rewards that a config names."""
    if run and table.is_program(config.rollout.reward) and not os.environ.get(TRUSTS):
        raise UserError(
            f"{run.path}: its reward is a program, {config.rollout.reward!r}, and runs may come from anybody; read it, "
            f"then set {TRUSTS}=1"
        )
    from moral_jax.respondents.local import LocalRespondent
    from moral_jax.workflows import voice

    assert isinstance(respondent, LocalRespondent), "checked by the caller"
    return voice.answers_of(voice.of(config, respondent.scoring.encoder), lambda: respondent.params)


TRUSTS = "MORAL_JAX_TRUST_REWARDS"  # if set, a run that is evaluated may name a program as its reward


def on_texts(config: Config, task: TaskConfig) -> Config:
    """Returns a config with another task, whose rows are texts and no questions to ask."""
    return dataclasses.replace(config, task=task, prompt=dataclasses.replace(config.prompt, ask=None))


def _calibration(run: RunDirectory | None) -> Calibration | None:
    """Returns the calibration that a run's validation records give."""
    stage = directory.stages(run.path).get(TRAINED) if run else None
    validation = stage / "validation.jsonl" if stage else None
    return calibration_of(read_jsonl(validation) if validation and validation.exists() else None)


NO_BUDGET = Budget(None, None, None, False)


def named(who: str, settings: Sequence[str] = ()) -> tuple[Config, RunDirectory | None]:
    """Returns the config of whoever --model would name, and the run whose weights answer, if it is one.

    Args:
      settings: further SECTION.FIELD=VALUE of a model.

    Raises:
      UserError: there is nobody of that name, or a run is given settings.
    """
    folder = Path(who.removeprefix("run:"))
    if who.startswith("run:") or directory.is_run(folder):
        if settings:
            raise UserError(f"{settings[0]}: a run brings its own config; only a model takes settings")
        return directory.read_config(folder), RunDirectory(folder)
    flags = [f"--config.{setting}" for setting in settings]
    return parsing.from_flags([*flags, *model_flags(who)], file_needed=False), None


def load(who: str, settings: Sequence[str] = ()) -> Interview:
    """Returns a respondent by name; arguments and errors as of `moral_jax.load`."""
    config, run = named(who, settings)
    return interview(config, NO_BUDGET, run)
