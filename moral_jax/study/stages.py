"""Makes the cells of studies in which one stage of training follows another, and of what is measured after them.

An arm is a list of stages. Arms that begin with the same stages share their runs, and differ in what comes after.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from moral_jax.study.spec import Cell


class Stage(NamedTuple):
    """A training run, or a measurement: a config file and the flags that go with it."""

    name: str
    config: str
    flags: tuple[str, ...] = ()


def cells(
    row: str, arms: Mapping[str, Sequence[Stage]], measured: Sequence[Stage], seeds: Sequence[int], *flags: str
) -> tuple[Cell, ...]:
    """Returns a cell for each stage of each arm and seed, and one for each measurement at the end of it.

    The arm without stages is the model as it comes; one measurement of it is enough for all seeds.

    Args:
      row: the name of the model.
      arms: by name, the stages in their order.
      measured: what every arm is asked; the name is the task, on whose rows arms are compared.
      flags: of every cell.
    """
    out: dict[Cell, None] = {}
    for seed in seeds:  # a study that is stopped has whole seeds
        for arm, stages in arms.items():
            if not stages and seed != seeds[0]:
                continue
            last = None
            for last in _chain(row, stages, seed, flags):
                out[last] = None
            for stage in measured:
                given = (*stage.flags, *flags)
                out[Cell(row, stage.name, arm, stage.config, given, kind="eval", seed=seed, after=last)] = None
    return tuple(out)


def _chain(row: str, stages: Sequence[Stage], seed: int, flags: tuple[str, ...]) -> Iterator[Cell]:
    """Yields the cells of some stages, each after the one before it. Their name is the way that led there."""
    before, names = None, []
    for stage in stages:
        names.append(stage.name)
        given = (*stage.flags, *flags, "--config.eval.initial=false", f"--config.train.seed={seed}")
        before = Cell(row, stage.name, ", then ".join(names), stage.config, given, seed=seed, after=before)
        yield before
