"""Defines a study as data: a file in configs/studies/ returns a `Study` from `get_study()`."""

import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence

from moral_jax.config.respondent import respondent_flags
from moral_jax.types import UserError

ZERO_SHOT, CE, DIRICHLET = "zero-shot", "CE-tuned", "Dirichlet-tuned"
SOFT = ("--config.objective.name=soft_cross_entropy", "--config.objective.concentration=fixed")
COUNTS = ("--config.objective.name=dirichlet_multinomial", "--config.objective.concentration=predicted")
OBJECTIVE_FLAGS = {CE: SOFT, DIRICHLET: COUNTS}
ON_ALL = "on all"
LONGEST_NAME = 120


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run: a command line that fills a run directory."""

    row: str
    """The name of the model in the tables."""
    task: str
    """Cells of a task are scored on the same rows and compared with each other."""
    training: str
    """ZERO_SHOT, CE, DIRICHLET, or a name of your own; "" for baselines, which are neither tuned nor prompted."""
    config: str
    """The config file: FILE or FILE:PRESET."""
    overrides: tuple[str, ...] = ()
    """Flags of the form --config.SECTION.FIELD=VALUE."""
    kind: str = "train"
    """The command: train or eval."""
    arguments: tuple[str, ...] = ()
    """Further arguments of the command, such as --max-cost of an API."""
    seed: int = 0
    share: float = 1.0
    """The share of the training rows. A cell with a share below 1 appears only in learning curves."""
    after: "Cell | None" = None
    """The cell whose weights this one begins with (config.model.path=run:DIR); default: the config's own model."""

    @property
    def name(self) -> str:
        """Returns the name of the cell's directory, which depends on its fields alone."""
        share = "" if self.share == 1 else f"share {self.share:g}"
        parts = [self.row, self.task, self.training, share, f"seed {self.seed}"]
        name = ".".join(re.sub(r"[^a-z0-9=_.+-]+", "-", p.lower()).strip("-.") for p in parts if p)
        if len(name) > LONGEST_NAME:
            name = f"{name[: LONGEST_NAME - 9]}-{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"
        return name


@dataclasses.dataclass(frozen=True)
class Measure:
    """A column of the table of arms: a number of the cells of one task."""

    label: str
    task: str
    """The task of the cells; an arm is the `training` of a cell."""
    metric: str
    """A number on texts or replies, such as likelihood_accuracy or reward."""
    group: str = ""
    """Only rows of the subset that config.task.fields.group so names; default: all rows."""
    chance: float | None = None
    """What the number is without any knowledge, where that is known."""
    limits: tuple[float, float] | None = None
    """Between which the number lies, such as (0, 1) of a judge's share; default: those of its kind."""


@dataclasses.dataclass(frozen=True)
class Study:
    """The cells of a study and the title of its page. Cells run in this order, but never before the one that they come
    after; a repeated cell runs once."""

    title: str
    cells: tuple[Cell, ...]
    resamples: int = 10_000
    """Draws behind every interval and p-value of the page."""
    measures: tuple[Measure, ...] = ()
    """The columns of a table of arms, which comes first; none: no such table."""
    contrasts: tuple[tuple[str, str], ...] = ()
    """Which arms are compared, (one, the other): differences of every measure, one minus the other."""

    def __post_init__(self) -> None:
        if not self.cells:
            raise UserError("the study has no cells")
        for cell in self.cells:
            if cell.after is not None and cell.after not in self.cells:
                raise UserError(f"cell {cell.name!r} comes after {cell.after.name!r}, which is no cell of the study")
        arms = {cell.training for cell in self.cells}
        if unknown := [name for pair in self.contrasts for name in pair if name not in arms]:
            raise UserError(f"contrasts: {unknown[0]!r} is no arm; there are {', '.join(sorted(arms))}")
        tasks = {cell.task for cell in self.cells}
        if nowhere := [m for m in self.measures if m.task not in tasks]:
            raise UserError(f"measure {nowhere[0].label!r}: no cell has task {nowhere[0].task!r}")
        if self.resamples < 1000:
            raise UserError(f"resamples={self.resamples}: expected at least 1000, for p-values")
        by_name: dict[str, Cell] = {}
        for cell in self.cells:
            if by_name.setdefault(cell.name, cell) != cell:
                raise UserError(f"two cells have the name {cell.name!r}: {by_name[cell.name]} and {cell}")


def zero_shot(row: str, task: str, config: str, *overrides: str) -> Cell:
    """Returns the cell that scores an untrained model; one is enough for all runs that start from the model."""
    return Cell(row, task, ZERO_SHOT, config, (*overrides, "--config.train.steps=0"))


def tuned(
    row: str, task: str, training: str, config: str, *overrides: str, seeds: Sequence[int], share: float = 1.0
) -> list[Cell]:
    """Returns a training run for each seed. Only the trained model is scored."""
    fixed = ("--config.eval.initial=false", *(() if share == 1 else (f"--config.task.train_share={share:g}",)))
    return [
        Cell(row, task, training, config, (*overrides, *fixed, f"--config.train.seed={s}"), seed=s, share=share)
        for s in seeds
    ]


def both_objectives(row: str, task: str, config: str, *overrides: str, seeds: Sequence[int]) -> list[Cell]:
    """Returns the runs of one recipe with the soft cross-entropy and with the Dirichlet-multinomial loss."""
    return [
        cell
        for training, objective in OBJECTIVE_FLAGS.items()
        for cell in tuned(row, task, training, config, *overrides, *objective, seeds=seeds)
    ]


def learning_curve(
    row: str, task: str, training: str, config: str, *overrides: str, shares: Sequence[float], seeds: Sequence[int]
) -> list[Cell]:
    """Returns runs on nested shares of the training rows, the smallest first; other rows stay as they are."""
    return [
        cell
        for share in sorted(shares)
        for cell in tuned(row, task, training, config, *overrides, seeds=seeds, share=share)
    ]


def transfer(
    row: str, task: str, config: str, *overrides: str, sources: Sequence[str], seeds: Sequence[int]
) -> list[Cell]:
    """Returns a mixture's runs untrained, trained on each source, on all but each, and on all; each tests on all.

    The page's table of the group "source" is the matrix: its rows are the sources that are tested on.

    Args:
      config: a config file of task `mixture`.
      sources: the names of the sources that are trained on.
    """
    cells = [zero_shot(row, task, config, *overrides)]
    for what, train_on in [(f"on {s}", s) for s in sources] + [(f"on all but {s}", f"-{s}") for s in sources]:
        cells += tuned(row, task, what, config, *overrides, f"--config.task.train_on={train_on}", seeds=seeds)
    return cells + tuned(row, task, ON_ALL, config, *overrides, seeds=seeds)


def ablations(
    row: str, task: str, config: str, *overrides: str, parts: Mapping[str, Sequence[str]], seeds: Sequence[int]
) -> list[Cell]:
    """Returns the runs of a recipe without one part at a time.

    Args:
      parts: name of each part, and the flags that leave it out.
    """
    return [
        cell
        for part, flags in parts.items()
        for cell in tuned(row, task, f"without {part}", config, *overrides, *flags, seeds=seeds)
    ]


def baseline(name: str, task: str, config: str, *overrides: str, row: str = "") -> Cell:
    """Returns the cell of a baseline, such as prior."""
    who = ("--config.respondent.kind=baseline", f"--config.respondent.name={name}")
    return Cell(row or name.replace("_", " "), task, "", config, (*overrides, *who), "eval")


def api(row: str, task: str, config: str, *overrides: str, flags: Sequence[str]) -> Cell:
    """Returns the cell of a model behind an API.

    Args:
      flags: of `moral-jax eval`, such as --model=api:NAME, --base-url=... and --yes.
    """
    who, rest = respondent_flags(flags)
    return Cell(row, task, ZERO_SHOT, config, (*overrides, *who), "eval", tuple(rest))
