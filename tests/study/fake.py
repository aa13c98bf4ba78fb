"""Fills a run directory in milliseconds. Predictions lie between one half and the shares of a second panel.

`optim.lr` sets how far they move towards the panel, `train.seed` their errors. If the file named by FAKE_BROKEN exists
and names the cell, the command fails as programs do: half of its files, a last line, an exit code.
"""

import json
import os
from pathlib import Path

import numpy as np

from moral_jax.analysis import summary
from moral_jax.analysis.calibrate import fit
from moral_jax.analysis.table import from_examples, from_records
from moral_jax.config import parsing, saved
from moral_jax.runtime import files
from moral_jax.tasks import load

NOISE = 0.05


def predict(example, config, rng):
    towards = min(config.optim.lr, 1.0) * (config.train.steps != 0)
    share = example.second_counts[0] / sum(example.second_counts)
    return float(np.clip(0.5 + towards * (share - 0.5) + rng.normal(0, NOISE), 0.02, 0.98))


def record(example, p):
    order = {"order": [0, 1], "probabilities": [p, 1 - p], "log_mass": -1.0, "log_concentration": 1.0}
    return {
        "id": example.id, "question": example.question, "title": "", "text": "", "options": list(example.options),
        "counts": list(example.counts), "second_counts": list(example.second_counts), "keys": list(example.keys),
        "groups": example.groups,
        "probabilities": [p, 1 - p], "option_mass": float(np.exp(-1.0)), "entropy": 0.5, "concentration": 2.0,
        "orders": [order],
    }  # fmt: skip


def main(arguments):
    workdir = Path(next(a for a in arguments if a.startswith("--workdir=")).removeprefix("--workdir="))
    config = parsing.from_flags([a for a in arguments if a.startswith("--config")])
    workdir.mkdir(parents=True, exist_ok=True)
    saved.save(config, workdir / "config.json")
    print(f"fake run of lr {config.optim.lr}, seed {config.train.seed}")
    broken = Path(os.environ.get("FAKE_BROKEN", "nowhere"))
    if broken.exists() and workdir.name in broken.read_text():
        print("error: the machine is on fire")
        return 2
    data = load.load(config.task)
    rng = np.random.default_rng(config.train.seed)
    stage = workdir / ("initial" if config.train.steps == 0 else "trained")
    stage.mkdir(exist_ok=True)
    sides = {"validation": data.validation, "test": data.test if config.eval.test else []}
    rows = {split: [record(e, predict(e, config, rng)) for e in side] for split, side in sides.items() if side}
    for split, of_split in rows.items():
        files.write_jsonl(stage / f"{split}.jsonl", of_split)
    reported = "test" if "test" in rows else "validation"
    calibration = fit(from_records(rows["validation"])) if reported == "test" else None
    prior = from_examples(data.train)
    c = config.eval
    numbers = summary.summarise(rows[reported], calibration, prior, c.bootstrap, c.best_draws, c.seed)
    (workdir / "provenance.json").write_text(json.dumps({"data": data.provenance}))
    (stage / "metrics.json").write_text(json.dumps({"split": reported, **numbers}))
    return 0
