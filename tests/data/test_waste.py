"""How full rows are of real questions, as the shipped configs pack them."""

from pathlib import Path

import pytest

from moral_jax.config import parsing
from moral_jax.data import beginnings, pack, pipeline
from moral_jax.respondents.encode import scoring_shape
from moral_jax.workflows import build

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "scruples"


def test_an_action_that_is_first_in_several_dilemmas_is_held_once(shared, smollm2, monkeypatch):
    """Scruples names an action in several dilemmas: 468 fill 40 rows, and 53 if only orders lie side by side."""
    name, rows = "smollm2_dilemmas.py", shared / "scruples" / "dilemmas" / "dev.scruples-dilemmas.jsonl"
    counts = []
    monkeypatch.setattr(
        pipeline, "in_batches", lambda rows, size: counts.append(len(rows)) or pack.in_batches(rows, size)
    )
    _fills(name, rows, smollm2)
    monkeypatch.setattr(pipeline, "side_by_side", lambda questions, most: [beginnings.by_example(questions)])
    _fills(name, rows, smollm2)
    assert (counts[1], counts[3]) == (40, 53)


def _fills(name: str, path: Path, smollm2: Path) -> tuple[float, float]:
    """Of training and scoring: the share of tokens that are no padding, in rows that hold questions."""
    config = parsing.from_flags(
        [
            f"--config={CONFIGS / name}",
            f"--config.task.path={path}",
            f"--config.model.path={smollm2}",
            "--config.task.limit=600",
            "--config.task.validation=0",
        ]
    )
    setup = build.training_setup(config)
    asked = setup.scoring.encoder.for_scoring(setup.data.test, "test")
    shape = scoring_shape([asked], config, setup.files.model)
    scoring = pipeline.scoring_batches(asked, shape, range(shape.rows), 2)
    return tuple(b.tokens() / (b.shape.length * sum(map(len, b.plan))) for b in (setup.batches, scoring))


@pytest.mark.parametrize(
    ("name", "rows", "most"),
    [
        ("smollm2_dilemmas.py", "dilemmas/dev.scruples-dilemmas.jsonl", 0.05),
        ("smollm2_dilemmas_each.py", "dilemmas/dev.scruples-dilemmas.jsonl", 0.05),
        ("smollm2_anecdotes.py", "anecdotes/test_sample_60.scruples-anecdotes.jsonl", 0.10),
    ],
)
def test_little_is_wasted(name, rows, most, shared, smollm2):
    training, scoring = _fills(name, shared / "scruples" / rows, smollm2)
    assert training > 1 - most
    assert scoring > 1 - most
