"""From a config and a baseline's name to a run directory like any other."""

import dataclasses
from pathlib import Path

import numpy as np

from moral_jax.analysis import calibrate
from moral_jax.analysis.table import from_examples
from moral_jax.config import Config
from moral_jax.config.model import BASELINE
from moral_jax.report import page
from moral_jax.respondents.baselines import registry
from moral_jax.respondents.baselines.simple import Answers
from moral_jax.runs import directory
from moral_jax.runs.records import ItemScores, Record, make_records
from moral_jax.runtime.console import say
from moral_jax.tasks import registry as tasks
from moral_jax.types import Example

LIBRARIES = ("numpy", "scipy", "scikit-learn")


def make(examples: list[Example], answers: Answers, concentration: float) -> list[Record]:
    """Records; `choice` is what a rule picked."""
    E = len(examples)
    items = [(i, tuple(range(len(e.options)))) for i, e in enumerate(examples)]
    with np.errstate(divide="ignore"):
        log_p_EC = np.log(answers.p_EC)
    records = make_records(examples, items, ItemScores(log_p_EC, np.zeros(E), np.full(E, np.log(concentration))))
    if answers.choice_E is not None:
        for record, choice in zip(records, answers.choice_E, strict=True):
            record["choice"] = int(choice)
    return records


def run(name: str, config: Config, workdir: Path) -> page.Written:
    """Fits a baseline to the training rows and answers validation and test rows.

    What has to be chosen (the penalty of a regression, the concentration) is chosen on the validation rows; without
    any, the concentration is the config's.

    Raises:
      UserError: no such baseline, rows that it cannot answer, no rows to answer, or whatever is wrong with the data.
    """
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, path=f"{BASELINE}{name}"))
    data = tasks.load(config.task)
    baseline = registry.get(name, data.train)
    asked = directory.to_score(data)
    with directory.claim(config, workdir):
        return _run(name, baseline, config, data, asked, workdir)


def _run(
    name: str,
    baseline: registry.Baseline,
    config: Config,
    data: tasks.Dataset,
    asked: dict[str, list[Example]],
    workdir: Path,
) -> page.Written:
    """The same once the rows are read and the directory is this process's own."""
    say(f"{data.provenance['description']}\n{name}: {baseline.description}")
    fitted = baseline.fit(data.train, data.validation, config.train.seed)
    answers = {split: fitted.answer(rows) for split, rows in asked.items()}
    concentration = config.objective.concentration_value
    if data.validation:
        t = from_examples(data.validation)
        concentration = calibrate.fixed_concentration(t.replace(p_EC=answers["validation"].p_EC))
    about = {"path": config.model.path, "description": baseline.description, "fitted": fitted.settings}
    provenance = {"data": data.provenance, "model": about, "versions": directory.versions(LIBRARIES)}
    records = {split: make(rows, answers[split], concentration) for split, rows in asked.items()}
    return directory.write_answers(workdir, config, provenance, records, data.train)
