"""Tests the studies of the project: every config builds, and no untrained model is scored twice."""

from collections import Counter
from pathlib import Path

import pytest

from moral_jax.config import parsing
from moral_jax.study import jobs
from moral_jax.study.spec import ZERO_SHOT

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("file", "cells"),
    [
        ("smollm2.py", 6 + 2 * 3 + (1 + 3) + (1 + 2 * 3) + 2 * 3),
        ("ethical_ambiguity.py", 3 * (3 * 7 + 2 * 6)),
        ("ethical_ambiguity.py:gpu-80gb", 99),
    ],
)
def test_every_cell_of_a_ready_study_builds(file, cells, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    study = parsing.from_file(f"configs/studies/{file}", "get_study")
    prepared = jobs.prepare(study, tmp_path, [])
    assert len(prepared) == cells
    before = [j for j in prepared if j.cell.kind == "train" and j.config.eval.initial]
    assert all(j.cell.training == ZERO_SHOT for j in before)
    assert set(Counter((j.cell.row, j.cell.task) for j in before).values()) == {1}
    pairs = {(j.cell.training, j.config.objective.name) for j in prepared if "tuned" in j.cell.training}
    assert pairs == {("CE-tuned", "soft_cross_entropy"), ("Dirichlet-tuned", "dirichlet_multinomial")}
