"""Searches prompt family, learning rate and epochs on the validation fifth of real dilemmas; prints a table and JSON.

    python benchmarks/recipe_search.py --path=dev.scruples-dilemmas.jsonl --out=recipe_search.jsonl

Three fifths train, one fifth validates, and the test fifth is not looked at. Runs that stand in --out are not repeated.
"""

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path

from moral_jax import run
from moral_jax.config import Config, DataConfig, ObjectiveConfig, OptimConfig, PromptConfig, TaskConfig, TrainConfig
from moral_jax.evals.summary import point_estimates
from moral_jax.experiment import Weights
from moral_jax.logs import say
from moral_jax.train.checkpoint import Checkpoints

METRICS = ("cross_entropy", "dirichlet_nll", "accuracy")
DIRICHLET = {"objective": "dirichlet_multinomial", "concentration": "predicted"}
GRID = [
    *({"family": "clean", "lr": lr, "epochs": 2, "orders": 1} for lr in (1e-5, 3e-5)),
    *({"family": "clean", "lr": lr} for lr in (3e-5, 1e-4, 2e-4)),
    *({"family": "plain", "lr": lr} for lr in (3e-5, 1e-4, 2e-4)),
    *({"family": "plain", "lr": 1e-4, "epochs": epochs} for epochs in (2, 3)),
    *({"family": "plain", "lr": lr, **DIRICHLET} for lr in (1e-4, 2e-4)),
]
DEFAULTS = {
    "family": "clean",
    "lr": 3e-5,
    "epochs": 1,
    "orders": 2,
    "rows": 1,
    "objective": "soft_cross_entropy",
    "concentration": "fixed",
    "system": None,
    "labels": None,
    "cue": None,
    "template": None,
    "eval_every": None,
}


def config_of(cell: dict, path: str) -> Config:
    c = DEFAULTS | cell
    return Config(
        task=TaskConfig(path=path, validation=0.2, test=0.2),
        prompt=PromptConfig(c["family"], c["template"], c["system"], c["labels"], c["cue"]),
        data=DataConfig(length=512, batch_size=c["rows"], micro_batch_size=c["rows"]),
        objective=ObjectiveConfig(c["objective"], c["concentration"]),
        optim=OptimConfig(lr=c["lr"]),
        train=TrainConfig(epochs=c["epochs"], orders=c["orders"], eval_every=c["eval_every"]),
    )


def measure(cell: dict, path: str) -> dict:
    """Trains one cell and scores the validation fifth after the last step."""
    started = time.perf_counter()
    config = config_of(cell, path)
    bench = run.set_up(config)
    bench = dataclasses.replace(bench, scored={"validation": bench.scored["validation"]})
    with tempfile.TemporaryDirectory() as folder, Checkpoints(Path(folder) / "checkpoints") as checkpoints:
        total = run.total_steps(bench)
        weights = Weights(bench.config, bench.model)
        before = point_estimates(bench.score(weights.first, bench.scored["validation"], "validation"), METRICS)
        run.fit(bench, weights, total, Path(folder), checkpoints)
        lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
        trace = [json.loads(line) for line in lines]
    after = [r for r in trace if r["kind"] == "validation"]
    return {
        "cell": cell,
        "steps": total,
        "before": before,
        "validations": after,
        "train": [r["loss"] for r in trace if r["kind"] == "train"],
        "minutes": (time.perf_counter() - started) / 60,
    }


def table(results: list[dict]) -> str:
    """The cells, best cross-entropy first."""
    header = ("prompt", "objective", "lr", "epochs", "orders", "CE", "Dirichlet NLL", "accuracy")
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for r in sorted(results, key=lambda r: r["validations"][-1]["cross_entropy"]):
        c, last = DEFAULTS | r["cell"], r["validations"][-1]
        extra = ", ".join(
            f"{k}={c[k]!r}" for k in ("system", "labels", "cue", "template", "rows") if c[k] != DEFAULTS[k]
        )
        cells = (
            f"{c['family']} {extra}".strip(),
            f"{c['objective']}, s {c['concentration']}",
            f"{c['lr']:g}",
            c["epochs"],
            c["orders"],
            f"{last['cross_entropy']:.4f}",
            f"{last['dirichlet_nll']:.3f}",
            f"{last['accuracy']:.3f}",
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True, help="dilemmas in the released schema")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, one per cell")
    parser.add_argument("--cells", type=json.loads, default=GRID, help="JSON list of cells; default: the grid")
    args = parser.parse_args()
    done = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    run.set_up_jax()
    for cell in args.cells:
        if any(r["cell"] == cell for r in done):
            continue
        say(f"--- {cell}")
        done.append(measure(cell, args.path))
        with args.out.open("a") as f:
            f.write(json.dumps(done[-1]) + "\n")
        say(table(done))


if __name__ == "__main__":
    main()
