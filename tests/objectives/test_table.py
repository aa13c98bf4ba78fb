"""The table of objectives: names, and the settings that each reads."""

import dataclasses

import pytest

from moral_jax import objectives
from moral_jax.config import Config
from moral_jax.config.train import ObjectiveConfig
from moral_jax.types import Options, Texts, UserError
from moral_jax.workflows.build import objective_of


def with_objective(**fields):
    return dataclasses.replace(Config(), objective=ObjectiveConfig(**fields))


def test_an_unknown_objective_is_named():
    with pytest.raises(UserError, match="config.objective.name='trpo': no such objective; expected 'soft_cross_ent"):
        objective_of(with_objective(name="trpo"))


@pytest.mark.parametrize("name", ["soft_cross_entropy", "count_cross_entropy"])
def test_a_setting_that_an_objective_does_not_read_may_not_be_set(name):
    with pytest.raises(UserError, match=f"concentration='learned': expected 'fixed', because {name} does not read it"):
        objective_of(with_objective(name=name, concentration="learned"))
    assert objective_of(with_objective(name=name, initial_concentration=3.0)).judged_by == "cross_entropy"


def test_the_dirichlet_multinomial_reads_the_concentration():
    assert objective_of(with_objective(name="dirichlet_multinomial", concentration="predicted")).asks is Options


@pytest.mark.parametrize("name", objectives.OBJECTIVES)
def test_every_row_is_complete(name):
    objective = objectives.get(name)
    fields = {f.name for f in dataclasses.fields(ObjectiveConfig)}
    assert {*objective.reads, *objective.settings} <= fields - {"name"}
    has_votes = objective.asks is not Texts or "mixed" in objective.kinds  # judged by what the page says of votes
    of_its_own = ("loss", "nll") if not has_votes else ("cross_entropy", "dirichlet_nll")
    assert objective.judged_by in of_its_own
    assert objective.label
