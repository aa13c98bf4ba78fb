"""The tables of docs/plan.md and docs/stages.md: 3-8 B models on machines that are not here.

    python benchmarks/plan_table.py slices --out=slices.jsonl       votes on three TPU slices
    python benchmarks/plan_table.py gpus --out=gpus.jsonl           votes on GPUs
    python benchmarks/plan_table.py texts --out=texts.jsonl         supervised fine-tuning and DPO on three TPU slices
    python benchmarks/plan_table.py stages --out=stages.jsonl       the stages of studies/why_first_hh on v5e-16
    python benchmarks/plan_table.py stages-gpu --out=stages.jsonl   the same on one GPU
    python benchmarks/plan_table.py scaling --out=scaling.jsonl     16 to 256 chips, one and two slices

`slices` cuts weights over all chips, recomputes layers in the backward pass, and searches for the largest micro-batch
that the compiler accepts; with LoRA weights are bfloat16 and frozen. `scaling` sets the rows, the others plan each
preset as it is. Rows that stand in --out are not made again.
"""

import argparse
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from moral_jax.config import parsing
from moral_jax.plan import compile as plans
from moral_jax.plan import hlo, machines, search
from moral_jax.plan import run as plan
from moral_jax.runtime.console import info

Row = dict[str, Any]
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
TEXTS = {"sft": "text/sft", "dpo": "preferences/dpo"}
STAGES = TEXTS | {"reward model": "preferences/reward", "grpo": "rl/grpo", "ppo": "rl/ppo"}
STAGED = ("meta-llama/Llama-2-7b-chat-hf", "microsoft/phi-2")
MISTRAL = "mistralai/Mistral-7B-Instruct-v0.3"
SCALED = (  # a slice, and how many of them
    ("v5e:4x4", 1),
    ("v5e:16x16", 1),
    ("v5e:8x16", 2),
    ("v5e:8x8", 1),
    ("v5e:4x8", 1),
    ("v5e:8x16", 1),
)
ROWS_PER_CHIP = 8  # the most that v5e-16 has room for in one micro-batch
ROWS_PER_STEP = 256  # one for each of 256 chips
WITH_SUMS = 4  # rows of a chip at a time where gradients of several micro-batches are summed
HEADER = (
    "| model | method | machine | micro-batch, rows | peak GiB | of | products, TFLOP | sent, GB | step >= s | MFU <= "
    "| fits |\n|---|---|---|---|---|---|---|---|---|---|---|"
)
SCALING_HEADER = (
    "| chips | slices | rows | of a chip at a time | peak GiB | products, TFLOP | sent within, GB | between slices, GB "
    "| products, s | exchanges, s | step >= s | efficiency | if nothing overlaps |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|"
)


class Case(NamedTuple):
    """A row of a table: what it is called, and what is planned on which machine."""

    of: str
    method: str
    machine: str
    flags: list[str]
    topology: str


def row(s: Row) -> str:
    """Returns a row of a table; the peak is that of training or scoring, whichever is larger."""
    parts = [s[name] for name in ("training", "scoring") if name in s]
    peaks = [part.get("peak_gib") or part["needs_gib"] for part in parts]
    peak = f"{max(peaks[0] + s['reference_gib'], *peaks):.2f}" if all(peaks) else "more"
    cells = [s["model"].split("/")[1], s["method"], s["slice"], s["micro_rows"], peak, s["limit_gib"]]
    if b := s.get("bound"):
        t = s["training"]
        cells += [f"{t['flops'] / 1e12:.0f}", f"{sum(t['sent_gb'].values()):.0f}"]
        cells += [f"{b['seconds']:.2f}", f"{b['mfu']:.0%}"]
    else:
        cells += [""] * 4
    return "| " + " | ".join(map(str, [*cells, "yes" if s["fits"] else "no"])) + " |"


def scaling_row(s: Row, base: Row) -> str:
    """Returns a row of the table of scaling: rows per second and chip at the bound, against those of `base`."""
    if "bound" not in s:
        raise SystemExit(f"{s['slice']}, {s['method']}: does not fit, and has no bound")
    t, b = s["training"], s["bound"]
    between = t["sent_gb"].get(hlo.BETWEEN_SLICES, 0.0)

    def speeds(r: Row) -> list[float]:
        return [1 / r["chips"] / seconds for seconds in search.seconds_per_row(r)]

    cells = [s["chips"], s["slices"], s["rows"], s["micro_rows"] // s["chips"], f"{t['peak_gib']:.2f}"]
    cells += [f"{t['flops'] / 1e12:.0f}", f"{sum(t['sent_gb'].values()) - between:.1f}", f"{between:.2f}"]
    cells += [f"{b['compute']:.3f}", f"{b['network']:.3f}", f"{b['seconds']:.3f}"]
    cells += [f"{mine / first:.3f}" for mine, first in zip(speeds(s), speeds(base), strict=True)]
    return "| " + " | ".join(map(str, cells)) + " |"


def scaling_table(done: list[Row]) -> str:
    """Returns the two tables: as many rows for each chip, and as many rows in a step."""
    out = []
    for method in dict.fromkeys(s["method"] for s in done):
        rows = [s for s in done if s["method"] == method]
        lines = [scaling_row(s, rows[0]) for s in sorted(rows, key=lambda s: (s["slices"], s["chips"]))]
        out.append("\n".join([f"{method}:\n", SCALING_HEADER, *lines]))
    return "\n\n".join(out)


def on_slices(done: list[Row]) -> Iterator[Row]:
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


def on_gpus() -> Iterator[Case]:
    """Yields votes on GPUs."""
    for model, (method, preset, machine) in itertools.product(MODELS[:2], GPUS):
        yield Case(model, method, machine, [f"--config=configs/scruples/{model}_dilemmas.py:{preset}"], machine)


def of_texts() -> Iterator[Case]:
    """Yields texts and preferences on TPU slices."""
    for (method, config), (preset, topology) in itertools.product(TEXTS.items(), SLICES.items()):
        flags = [f"--config={config}:{preset}", f"--config.model.path={MISTRAL}"]
        yield Case(MISTRAL, method, preset, flags, topology)


def of_stages(preset: str, topology: str) -> Iterator[Case]:
    """Yields the stages of a study on one machine."""
    for model, (method, config) in itertools.product(STAGED, STAGES.items()):
        reward = ["--config.rollout.reward=run:runs/reward"] if config.startswith("rl/") else []
        flags = [f"--config={config}:{preset}", f"--config.model.path={model}", *reward]
        yield Case(model, method, preset, flags, topology)


def of_scaling() -> Iterator[Case]:
    """Yields all weights of one model on more and more chips."""
    for weak, (topology, slices) in itertools.product((False, True), SCALED):
        height, width = map(int, topology.partition(":")[2].split("x"))
        chips = height * width * slices
        rows = ROWS_PER_CHIP * chips if weak else ROWS_PER_STEP
        at_a_time = rows if weak else min(rows, WITH_SUMS * chips)
        flags = [f"--config.data.batch_size={rows}", f"--config.data.micro_batch_size={at_a_time}"]
        flags += ["--config=configs/scruples/mistral_7b_dilemmas.py:v5e-16", f"--config.mesh.slices={slices}"]
        method = f"{ROWS_PER_CHIP} rows for each chip" if weak else f"{ROWS_PER_STEP} rows in a step"
        yield Case(MISTRAL, method, f"{slices} x {topology}", flags, topology)


CASES: dict[str, Callable[[], Iterator[Case]]] = {
    "gpus": on_gpus,
    "texts": of_texts,
    "stages": lambda: of_stages("v5e-16", "v5e:4x4"),
    "stages-gpu": lambda: of_stages("gpu-80gb", "h100:1"),
    "scaling": of_scaling,
}


def made(cases: Iterator[Case], done: list[Row], *, scoring: bool) -> Iterator[Row]:
    """Yields the rows that are not done."""
    for case in cases:
        if any((r["of"], r["method"], r["slice"]) == (case.of, case.method, case.machine) for r in done):
            continue
        config = parsing.from_flags(case.flags)
        where = machines.topology(case.topology, config.mesh.slices)
        found = plans.make(config, plan.read_spec(config.model.path), where, scoring=scoring)
        called = {"of": case.of, "method": case.method, "slice": case.machine, "slices": config.mesh.slices}
        yield called | plan.summary(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=("slices", *CASES))
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, one per row")
    args = parser.parse_args()
    done = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    scales = args.table == "scaling"
    found = on_slices(done) if args.table == "slices" else made(CASES[args.table](), done, scoring=not scales)
    for s in found:
        done.append(s)
        with args.out.open("a") as f:
            f.write(json.dumps(s) + "\n")
        info(scaling_table(done) if scales else "\n".join([HEADER, *map(row, done)]))


if __name__ == "__main__":
    main()
