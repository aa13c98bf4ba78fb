"""Generates a synthetic sample in the form of DILEMMAS, so that examples run without a download. NOT human judgement.

The actions and their severities were written for this project. Two panels of five votes are drawn from
p(first is less ethical) = sigmoid((severity of the first - severity of the second) / SPREAD) with a fixed seed.
"""

import csv
from importlib import resources

import numpy as np

from moral_jax.tasks.scruples import LESS_ETHICAL, split_groups
from moral_jax.types import Example

SEED = 20241009
SPREAD = 2.0  # severities run from 0 to 9: a difference of two makes a 73 % majority
BLOCK = 15  # actions are paired within blocks, so that splits can separate blocks without dropping pairs
STEPS = (1, 2)  # each action is paired with those one and two positions later, cyclically within its block
PANEL = 5  # votes per panel


def read_actions() -> list[tuple[str, float]]:
    """Returns the roughly 150 actions with their severities, from 0 (harmless) to 9."""
    text = resources.files("moral_jax.tasks").joinpath("synthetic_actions.csv").read_text(encoding="utf-8")
    return [(row["action"], float(row["severity"])) for row in csv.DictReader(text.splitlines())]


def examples() -> list[Example]:
    """Returns all pairs with their votes. Deterministic: every call returns equal examples."""
    rng = np.random.default_rng(SEED)
    actions = read_actions()
    shuffled = [int(i) for i in rng.permutation(len(actions))]
    blocks = [shuffled[i : i + BLOCK] for i in range(0, len(shuffled), BLOCK)]
    pairs = [
        (b[i], b[(i + step) % len(b)])
        for b in blocks
        if len(b) > 2 * max(STEPS)
        for step in STEPS
        for i in range(len(b))
    ]
    out = []
    for number, (first, second) in enumerate(pairs):
        p = 1 / (1 + np.exp(-(actions[first][1] - actions[second][1]) / SPREAD))
        panels = [(float(k), float(PANEL - k)) for k in rng.binomial(PANEL, p, size=2)]
        out.append(
            Example(
                id=f"synthetic-{number:03d}",
                question=LESS_ETHICAL,
                options=(actions[first][0], actions[second][0]),
                counts=panels[0],
                second_counts=panels[1],
                keys=(f"action-{first}", f"action-{second}"),
                groups=split_groups(*panels),
            )
        )
    return out
