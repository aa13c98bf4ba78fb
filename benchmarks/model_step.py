"""Trains and scores published shapes with random weights: tokens/s, MFU and peak memory, as a table and JSON.

    python benchmarks/model_step.py --config=configs/scruples/mistral_7b_dilemmas.py:gpu-80gb --peak-tflops=989
    python benchmarks/model_step.py --config=configs/scruples/mistral_7b_dilemmas.py:gpu-80gb --layers=4

Rows are full of random questions. One warm-up run, then the median over --runs; scoring and training alternate.
"""

import argparse
import dataclasses
import json
import statistics
import time
from typing import Any

import jax
import numpy as np

from moral_jax import config_io, sharding
from moral_jax.config import Config
from moral_jax.evals.score import make_scorer
from moral_jax.experiment import make_policy
from moral_jax.models import api
from moral_jax.objectives import OBJECTIVES
from moral_jax.plan import cost
from moral_jax.plan.run import read_spec
from moral_jax.train import optim, step
from moral_jax.types import Batch


def random_batch(config: Config, vocab: int, rows: int) -> Batch:
    """Rows that are full: as many questions of one length as a row may hold."""
    rng, T, Q = np.random.default_rng(0), config.data.length, config.data.questions_per_row
    size = T // Q
    slot_T = np.minimum(np.arange(T) // size, Q - 1)
    repeat = lambda row: np.broadcast_to(row.astype(np.int32), (rows, *row.shape)).copy()  # noqa: E731
    counts = rng.integers(0, 6, (rows, Q, 2))
    return Batch(
        tokens_BT=rng.integers(0, vocab, (rows, T)).astype(np.int32),
        segments_BT=repeat(2 + slot_T),
        ends_BT=repeat(3 + slot_T),
        positions_BT=repeat(np.arange(T) - slot_T * size),
        types_BT=np.zeros((rows, T), np.int32),
        answers_BA=repeat(np.append(np.arange(1, Q) * size, T) - 1),
        states_BQC=repeat(np.arange(Q)[:, None].repeat(2, axis=1)),
        option_ids_BQCW=rng.integers(0, vocab, (rows, Q, 2, 2)).astype(np.int32),
        counts_BQC=(counts + np.eye(2)[0]).astype(np.float32),
        weights_BQ=np.ones((rows, Q), np.float32),
        items_BQ=np.zeros((rows, Q), np.int32),
    )


def measure(config: Config, layers: int | None, runs: int, peak_flops: float | None) -> dict[str, Any]:
    mesh = sharding.make_mesh(config.mesh)
    spec = read_spec(config.model.path)
    spec = dataclasses.replace(spec, layers=layers or spec.layers)
    policy = make_policy(config, spec, mesh)
    tx = optim.make(config.optim, 1000)
    micro_rows = sharding.micro_batch_rows(config.data.micro_batch_size, mesh)
    rows = sharding.batch_rows(config.data.batch_size, micro_rows)
    score_rows = sharding.micro_batch_rows(config.eval.batch_size, mesh)
    batch = step.split_micro_batches(random_batch(config, spec.vocab, rows), micro_rows)
    batch = sharding.place(batch, micro_rows, mesh, micro_batches=True)
    asked = sharding.place(random_batch(config, spec.vocab, score_rows), score_rows, mesh, micro_batches=False)
    train_step = step.make_train_step(OBJECTIVES[config.objective.name], policy, tx)
    score = make_scorer(policy).score
    frozen, trained = api.split(api.random_params(policy, 0), policy)
    state = step.init_state(trained, policy, tx)
    seconds: dict[str, list[float]] = {"training": [], "scoring": []}
    for run in range(runs + 1):
        times = [time.perf_counter()]
        state, metrics = train_step(state, frozen, batch)
        jax.block_until_ready(metrics)
        times.append(time.perf_counter())
        jax.block_until_ready(score(frozen | state.params, asked))
        times.append(time.perf_counter())
        took = dict(zip(seconds, np.diff(times).tolist(), strict=True))
        print(f"run {run}: {took}", flush=True)
        for name, values in seconds.items():
            values += [took[name]] if run else []  # the first compiles
    stats = jax.local_devices()[0].memory_stats() or {}
    out = {
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "model": config.model.path,
        "layers": spec.layers,
        "attention": policy.execution.attention,
        "remat": config.model.remat,
        "peak_gib": stats.get("peak_bytes_in_use", 0) / 2**30 or None,
        "counting_rule": cost.COUNTING_RULE,
    }
    length = config.data.length
    training = cost.model_flops(policy.spec, 1, length, frozen=bool(policy.frozen))
    forward = cost.model_flops(spec, 1, length, frozen=False) / 3
    for name, tokens, per_token in (
        ("training", rows * length, training),
        ("scoring", score_rows * length, forward),
    ):
        median = statistics.median(seconds[name])
        rate = tokens / median / jax.device_count()
        mfu = rate * per_token / peak_flops if peak_flops else None
        out[name] = {"seconds": median, "rows": tokens // length, "tokens_per_second_per_device": rate, "mfu": mfu}
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="FILE[:PRESET]; --config.SECTION.FIELD=VALUE works")
    parser.add_argument("--layers", type=int, help="fewer layers, for a first look")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--peak-tflops", type=float, help="of one device, dense bfloat16: for the MFU")
    args, rest = parser.parse_known_args()
    config = config_io.from_flags([f"--config={args.config}", *rest])
    result = measure(config, args.layers, args.runs, args.peak_tflops and args.peak_tflops * 1e12)
    print("| | rows | seconds | tokens/s per device | MFU |\n|---|---|---|---|---|")
    for name in ("training", "scoring"):
        r = result[name]
        mfu = "" if r["mfu"] is None else f"{r['mfu']:.1%}"
        print(f"| {name} | {r['rows']} | {r['seconds']:.3f} | {r['tokens_per_second_per_device']:.0f} | {mfu} |")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
