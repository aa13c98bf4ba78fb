"""What `mfu.py` and `scaling.py` share: a config's shapes with random weights, one cell a process.

Rows are full of random questions. One warm-up run, then medians; training, scoring and a plain square product, whose
rate is the peak that shares are of, take turns. A cell that does not fit is reported as that, and the next one starts.
"""

import argparse
import dataclasses
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from moral_jax import sharding
from moral_jax.config import Config, parsing
from moral_jax.data import layout
from moral_jax.inference.score import make_scorer
from moral_jax.models import api
from moral_jax.models.product import product
from moral_jax.models.spec import ComputeOptions, DecoderSpec
from moral_jax.plan import cost
from moral_jax.plan.run import read_spec
from moral_jax.runtime import jax_setup
from moral_jax.train import optim, step
from moral_jax.types import Array, Batch, Options, Tokens, UserError
from moral_jax.workflows import build
from moral_jax.workflows.local_model import make_model

# The product that shows the machine's peak, and how many of them follow one another: on an accelerator a single one of
# 4096 is over before the next is sent off
SQUARE, CHAIN = {"cpu": (4096, 1)}.get(jax.default_backend(), (8192, 10))
RUNS = 5
OUT_OF_MEMORY = "out of memory"


def random_batch(config: Config, vocab: int, rows: int, options: int) -> Batch:
    """Rows that are full: as many questions of one length as a row may hold."""
    rng, T, Q = np.random.default_rng(0), config.data.length, layout.most_questions(config.data)
    size = T // Q
    slot_T = np.minimum(np.arange(T) // size, Q - 1)
    repeat = lambda row: np.broadcast_to(row.astype(np.int32), (rows, *row.shape)).copy()  # noqa: E731
    counts = rng.integers(0, 6, (rows, Q, options))
    tokens = Tokens(
        tokens_BT=rng.integers(0, vocab, (rows, T)).astype(np.int32),
        segments_BT=repeat(2 + slot_T),
        ends_BT=repeat(3 + slot_T),
        positions_BT=repeat(np.arange(T) - slot_T * size),
    )
    asks = Options(
        read_BA=repeat(np.append(np.arange(1, Q) * size, T) - 1),
        read_of_option_BQC=repeat(np.arange(Q)[:, None].repeat(options, axis=1)),
        option_ids_BQCW=rng.integers(0, vocab, (rows, Q, options, 2)).astype(np.int32),
        counts_BQC=(counts + np.eye(options)[0]).astype(np.float32),
        weights_BQ=np.ones((rows, Q), np.float32),
        items_BQ=np.zeros((rows, Q), np.int32),
    )
    return Batch(tokens, asks)


def _works(config: Config, spec: DecoderSpec, options: int) -> tuple[dict[str, Callable[[], Any]], dict[str, int], Any]:
    """What takes turns, the rows of each, and the policy."""
    mesh = sharding.make_mesh(config.mesh)
    model = make_model(config, spec, mesh)
    tx = optim.make(config.optim, 1000)
    micro_rows = sharding.micro_batch_rows(config.data.micro_batch_size, mesh)
    rows = sharding.batch_rows(config.data.batch_size, micro_rows)
    score_rows = sharding.micro_batch_rows(config.eval.batch_size, mesh)
    batch = step.split_micro_batches(random_batch(config, spec.vocab, rows, options), micro_rows)
    batch = sharding.place(batch, micro_rows, mesh, micro_batches=True)
    asked = random_batch(config, spec.vocab, score_rows, options)
    asked = sharding.place(asked, score_rows, mesh, micro_batches=False)
    train_step = step.make_train_step(build.objective_of(config), model, tx)
    scorer = make_scorer(model)
    frozen, trained = api.split(api.random_params(model, 0), model)
    state = step.init_state(trained, model, tx)

    def train() -> Any:
        nonlocal state
        state, metrics = train_step(state, frozen, batch)
        return metrics

    works = {
        "training": train,
        "scoring": lambda: scorer.score(api.cast_for_scoring(frozen | state.params, model), asked),
        "peak": _square(model.compute),
    }
    return works, {"training": rows, "scoring": score_rows}, model


def _square(how: ComputeOptions) -> Callable[[], Any]:
    """Products of random square matrices, as the layers compute theirs. Zeros and ones would be faster."""
    x, y = (jax.random.normal(jax.random.key(i), (SQUARE, SQUARE), how.dtype) / SQUARE**0.5 for i in (0, 1))

    @jax.jit
    def multiply(x: Array, y: Array) -> Array:
        for _ in range(CHAIN):
            x = product(x, y, how.product_dtype)
        return x

    return lambda: multiply(x, y)


def _seconds(works: dict[str, Callable[[], Any]]) -> tuple[dict[str, float], dict[str, float]]:
    """Medians over the runs, in turns, and the first of each, which compiles."""
    took: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(RUNS + 1):
        for name, work in works.items():
            began = time.perf_counter()
            jax.block_until_ready(work())
            took[name].append(time.perf_counter() - began)
    return {n: statistics.median(s[1:]) for n, s in took.items()}, {n: s[0] for n, s in took.items()}


def _peak_gib() -> float:
    """The most memory held: of the device, or where it does not say, of the process."""
    stats = jax.local_devices()[0].memory_stats()
    if stats:
        return stats["peak_bytes_in_use"] / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(config: Config, layers: int | None, options: int) -> dict[str, Any]:
    """One cell."""
    spec = read_spec(config.model.path)
    spec = dataclasses.replace(spec, layers=layers or spec.layers)
    works, rows, model = _works(config, spec, options)
    seconds, first = _seconds(works)
    peak = 2 * CHAIN * SQUARE**3 / seconds["peak"]
    length = config.data.length
    out: dict[str, Any] = {
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "jax": jax.__version__,
        "model": config.model.path,
        "layers": spec.layers,
        "length": length,
        "options": options,
        "attention": model.compute.attention,
        "product_dtype": model.compute.product_dtype,
        "peak_tflops": peak / 1e12,
        "peak_gib": _peak_gib(),
    }
    per_token = {
        "training": cost.model_flops(model.spec, 1, length, frozen=bool(model.frozen)),
        "scoring": cost.model_flops(spec, 1, length, frozen=False) / 3,
    }
    for name, flops in per_token.items():
        rate = rows[name] * length / seconds[name] / jax.device_count()
        out[name] = {
            "rows": rows[name],
            "seconds": seconds[name],
            "first_seconds": first[name],
            "tokens_per_second": rate,
            "tflops": rate * flops / 1e12,
            "mfu": rate * flops / peak,
        }
    return out


def cell(flags: Iterable[str], layers: int | None = None, options: int = 2) -> dict[str, Any]:
    """Measures in a process of its own: its peak of memory is its own, and its end by lack of memory too."""
    command = [sys.executable, __file__, *flags, f"--options={options}"] + ([f"--layers={layers}"] if layers else [])
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    if done.returncode == -9 or "RESOURCE_EXHAUSTED" in done.stderr or OUT_OF_MEMORY in done.stderr.lower():
        return {"failed": OUT_OF_MEMORY}
    return {"failed": (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]}


def table(rows: Iterable[tuple[str, dict[str, Any]]]) -> str:
    """Markdown."""
    lines = [
        "| | training, tokens/s | share of peak | scoring, tokens/s | share of peak | peak GiB | first step, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, r in rows:
        if "failed" in r:
            lines.append(f"| {name} | {r['failed']} | | | | | |")
            continue
        t, s = r["training"], r["scoring"]
        lines.append(
            f"| {name} | {t['tokens_per_second']:.0f} | {t['mfu']:.0%} | {s['tokens_per_second']:.0f} | "
            f"{s['mfu']:.0%} | {r['peak_gib']:.2f} | {t['first_seconds']:.1f} |"
        )
    return "\n".join(lines)


def show(cells: dict[str, dict[str, Any]], out: Path) -> None:
    """Prints the table and writes the JSON; exit code 1 if a cell failed by anything but lack of memory."""
    out.write_text(json.dumps(cells, indent=2) + "\n")
    made = [r for r in cells.values() if "failed" not in r]
    print(f"\n{table(cells.items())}\n")
    if made:
        low, high = min(r["peak_tflops"] for r in made), max(r["peak_tflops"] for r in made)
        r = made[0]
        print(
            f"{r['devices']} x {r['device']}, JAX {r['jax']}, products in {r['product_dtype']}, attention "
            f"{r['attention']}; peak: {CHAIN} products of {SQUARE} x {SQUARE} matrices, {low:.2f} to {high:.2f} "
            f"TFLOP/s\n({cost.COUNTING_RULE})"
        )
    sys.exit(int(any(r.get("failed", OUT_OF_MEMORY) != OUT_OF_MEMORY for r in cells.values())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int)
    parser.add_argument("--options", type=int, default=2)
    args, rest = parser.parse_known_args()
    jax_setup.configure()
    print(json.dumps(measure(parsing.from_flags(rest), args.layers, args.options)))


if __name__ == "__main__":
    try:
        main()
    except UserError as e:
        sys.exit(f"error: {e}")
