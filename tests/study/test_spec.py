"""Tests cells and their names."""

import pytest

from moral_jax.study.spec import (
    CE,
    DIRICHLET,
    ON_ALL,
    ZERO_SHOT,
    Cell,
    Study,
    ablations,
    both_objectives,
    learning_curve,
    transfer,
    tuned,
    zero_shot,
)
from moral_jax.types import UserError


def test_names_say_what_a_cell_is_and_are_file_names():
    cell = Cell("SmolLM2 135M/Instruct", "dilemmas", CE, "c.py", seed=2, share=0.1)
    assert cell.name == "smollm2-135m-instruct.dilemmas.ce-tuned.share-0.1.seed-2"
    assert Cell("Fewest words", "dilemmas", "", "c.py").name == "fewest-words.dilemmas.seed-0"
    long = [Cell("x" * 300 + end, "t", CE, "c.py").name for end in "ab"]
    assert all(len(name) == 120 for name in long)
    assert long[0] != long[1]


def test_both_objectives_are_the_same_recipe_with_another_loss():
    cells = both_objectives("m", "t", "c.py", "--config.optim.lr=1", seeds=(0, 1))
    assert [(c.training, c.seed) for c in cells] == [(CE, 0), (CE, 1), (DIRICHLET, 0), (DIRICHLET, 1)]
    ce, dirichlet = cells[0].overrides, cells[2].overrides
    assert {x.split("=")[0] for x in ce} == {x.split("=")[0] for x in dirichlet}
    assert set(dirichlet) - set(ce) == {
        "--config.objective.name=dirichlet_multinomial", "--config.objective.concentration=predicted"
    }  # fmt: skip
    assert all("--config.eval.initial=false" in c.overrides for c in cells)  # the zero-shot cell has scored it


def test_curves_have_a_cell_for_each_share_and_seed():
    cells = learning_curve("m", "t", CE, "c.py", shares=(1.0, 0.1), seeds=(0, 1))
    assert [(c.share, c.seed) for c in cells] == [(0.1, 0), (0.1, 1), (1.0, 0), (1.0, 1)]
    assert "--config.task.train_share=0.1" in cells[0].overrides
    assert cells[2:] == tuned("m", "t", CE, "c.py", seeds=(0, 1))  # the full share is an ordinary cell of the study


def test_two_cells_of_one_name_must_be_the_same_cell():
    cell = zero_shot("m", "t", "c.py")
    assert Study("s", (cell, cell)).cells
    with pytest.raises(UserError, match="two cells have the name 'm.t.zero-shot.seed-0'"):
        Study("s", (cell, zero_shot("m", "t", "other.py")))
    with pytest.raises(UserError, match="no cells"):
        Study("s", ())
    with pytest.raises(UserError, match="resamples=10: expected at least 1000"):
        Study("s", (cell,), resamples=10)


def test_transfer_trains_on_each_on_all_but_each_and_on_all():
    cells = transfer("m", "t", "c.py", sources=("a", "b"), seeds=(0, 1))
    chosen = {c.training: [o for o in c.overrides if "train_on" in o] for c in cells}
    assert chosen == {
        ZERO_SHOT: [],
        "on a": ["--config.task.train_on=a"],
        "on b": ["--config.task.train_on=b"],
        "on all but a": ["--config.task.train_on=-a"],
        "on all but b": ["--config.task.train_on=-b"],
        ON_ALL: [],
    }
    assert [c.training for c in cells].count("on a") == 2, "one for each seed"
    assert len({c.name for c in cells}) == len(cells) == 11


def test_ablations_leave_out_one_part_each():
    parts = {"warm-up": ("--config.optim.warmup=0",), "votes": ("--config.task.majority=true",)}
    cells = ablations("m", "t", "c.py", "--config.optim.lr=1", parts=parts, seeds=(0,))
    assert [(c.training, c.overrides[1]) for c in cells] == [
        ("without warm-up", "--config.optim.warmup=0"),
        ("without votes", "--config.task.majority=true"),
    ]
    assert all(c.overrides[0] == "--config.optim.lr=1" for c in cells)
