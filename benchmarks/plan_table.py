"""The tables of docs/plan.md: 7-8 B models on machines that are not here.

    python benchmarks/plan_table.py --out=plans.jsonl                  three TPU slices
    python benchmarks/plan_table.py --gpu --out=gpu_plans.jsonl        GPUs, each with its preset as it is

On TPU slices, weights are cut over all chips, layers recomputed in the backward pass, and the micro-batch is the
largest that the compiler accepts; with LoRA weights are bfloat16 and frozen. Rows that stand in --out are not made
again.
"""

import argparse
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moral_jax.config import parsing
from moral_jax.plan import compile as plans
from moral_jax.plan import machines, search
from moral_jax.plan import run as plan
from moral_jax.runtime.console import info

MODELS = ("mistral_7b", "llama_3_1_8b", "zephyr_7b")
SLICES = {"v5e-16": "v5e:4x4", "v6e-8": "v6e:2x4", "v5p-8": "v5p:2x2x1"}
METHODS = {"full": [], "lora": ["--config.adapter.kind=lora", "--config.model.param_dtype=bfloat16"]}
GPUS = (  # method, preset, machine
    ("full", "gpu-80gb-8", "h100:8"),
    ("lora", "gpu-80gb", "h100:1"),
    ("qlora", "gpu-24gb", "h100:1"),
    ("qlora", "gpu-24gb", "4090:1"),
    ("qlora", "gpu-24gb", "l4:1"),
)
HEADER = (
    "| model | method | machine | micro-batch, rows | peak GiB | of | products, TFLOP | sent, GB | step >= s | MFU <= "
    "| fits |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


def row(s: dict[str, Any]) -> str:
    t, b = s["training"], s["bound"]
    cells = [s["model"].split("/")[1], s["method"], s["slice"], s["micro_rows"], f"{t['peak_gib']:.2f}", s["limit_gib"]]
    cells += [f"{t['flops'] / 1e12:.0f}", f"{sum(t['sent_gb'].values()):.0f}", f"{b['seconds']:.2f}", f"{b['mfu']:.0%}"]
    return "| " + " | ".join(map(str, [*cells, "yes" if s["fits"] else "no"])) + " |"


def on_slices(done: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yields the rows of TPU slices that are not done."""
    for method, model, preset in itertools.product(METHODS, MODELS, SLICES):
        if any((r["of"], r["method"], r["slice"]) == (model, method, preset) for r in done):
            continue
        # the first model is searched from its preset, the others from where it ended: they are almost alike
        alike = [r for r in done if (r["method"], r["slice"]) == (method, preset)]
        rows = alike[0]["micro_rows"] if alike else None
        start = [f"--config.data.micro_batch_size={rows}", f"--config.data.batch_size={rows}"] if rows else []
        flags = [f"--config=configs/scruples/{model}_dilemmas.py:{preset}", *METHODS[method], *start]
        config = parsing.from_flags(flags)
        spec = plan.read_spec(config.model.path)
        found = search.search(config, spec, machines.topology(SLICES[preset]), remats=("full",), tensors=(1,))
        yield {"of": model, "method": method, "slice": preset} | max(found, key=lambda r: r["micro_rows"])


def on_gpus(done: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yields the rows of GPUs that are not done."""
    for model, (method, preset, machine) in itertools.product(MODELS[:2], GPUS):
        if any((r["of"], r["method"], r["slice"]) == (model, method, machine) for r in done):
            continue
        config = parsing.from_flags([f"--config=configs/scruples/{model}_dilemmas.py:{preset}"])
        made = plans.make(config, plan.read_spec(config.model.path), machines.topology(machine), scoring=True)
        yield {"of": model, "method": method, "slice": machine} | plan.summary(made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", action="store_true", help="GPUs in place of TPU slices")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, one per row")
    args = parser.parse_args()
    done = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    for made in (on_gpus if args.gpu else on_slices)(done):
        done.append(made)
        with args.out.open("a") as f:
            f.write(json.dumps(made) + "\n")
        info("\n".join([HEADER, *map(row, done)]))


if __name__ == "__main__":
    main()
