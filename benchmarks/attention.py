"""Every kind of attention that this machine has: its error against float32, and its time, over lengths and masks.

    python benchmarks/attention.py --lengths 512 2048 --out=attention.json

The reference is `jax.nn.dot_product_attention` in float32, which has the mask alone in common with ours. An error is
that of the output and of the gradients of q, k and v, each relative to the norm of the reference; bfloat16 operands
give 0.002 to 0.01. Masks: one long text a row; questions of 64 tokens behind a shared beginning of 64, with an empty
end; a window of a quarter of the row. Exit code 1 if an error is above `--at-most`, or is not a number.
"""

import argparse
import functools
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from moral_jax import sharding
from moral_jax.config.model import MeshConfig
from moral_jax.models.attention import ATTENTION
from moral_jax.models.mask import visible
from moral_jax.models.spec import AttentionPattern, ComputeOptions
from moral_jax.types import Array, Tokens

QUESTION = 64  # tokens of a question, and of the beginning that all share
SHAPES = {"Mistral-7B": (32, 8, 128), "SmolLM2-135M": (9, 3, 64)}  # heads, key heads, head size
PLATFORM = {"plain": ("cpu", "gpu", "tpu"), "splash": ("tpu",), "cudnn": ("gpu",)}
RUNS = 5


def masks(rows: int, length: int) -> dict[str, tuple[Tokens, AttentionPattern]]:
    """Returns the kinds of rows that are packed, and their patterns."""
    at_T = np.arange(length)
    one = Tokens(
        None, *[np.broadcast_to(x, (rows, length)).astype(np.int32) for x in (at_T * 0 + 1, at_T * 0 + 2, at_T)]
    )
    segments_T = 1 + at_T // QUESTION
    last = segments_T[-1]
    ends_T = np.where(segments_T == 1, last, segments_T + 1)
    positions_T = np.where(segments_T == 1, at_T, QUESTION + at_T % QUESTION)
    empty_T = at_T >= length - QUESTION // 2
    columns = [np.where(empty_T, x, y) for x, y in ((0, segments_T), (1, ends_T), (0, positions_T))]
    packed = Tokens(None, *[np.broadcast_to(x, (rows, length)).astype(np.int32) for x in columns])
    return {
        "one text": (one, AttentionPattern(True, None)),
        "questions": (packed, AttentionPattern(True, None)),
        "window": (one, AttentionPattern(True, length // 4)),
    }


def reference(q: Array, k: Array, v: Array, tokens: Tokens, pattern: AttentionPattern, how: ComputeOptions) -> Array:
    """Attends by JAX's own plain computation."""
    del how
    mask_BNTS = visible(tokens, pattern, slice(0, q.shape[1]))[:, None]
    return jax.nn.dot_product_attention(q, k, v, mask=mask_BNTS, implementation="xla")


def run_of(attend: Callable[..., Array], tokens: Tokens, pattern: AttentionPattern, how: ComputeOptions) -> Any:
    """Returns two compiled functions of (q, k, v, g): the output, and the output with its gradients."""
    forward = functools.partial(attend, tokens=tokens, pattern=pattern, how=how)

    def both(q: Array, k: Array, v: Array, g: Array) -> tuple[Array, ...]:
        out, back = jax.vjp(forward, q, k, v)
        return out, *back(g.astype(out.dtype))

    return jax.jit(lambda q, k, v, g: forward(q, k, v)), jax.jit(both)


def median_ms(run: Callable[[], Any]) -> float:
    """Times a function that has run before."""
    took = []
    for _ in range(RUNS):
        began = time.perf_counter()
        jax.block_until_ready(run())
        took.append(time.perf_counter() - began)
    return 1e3 * statistics.median(took)


def cell(name: str, exact: tuple[Array, ...], given: tuple[Array, ...], **mask: Any) -> dict[str, Any]:
    """Measures one implementation: relative errors of out, dq, dk, dv, and milliseconds."""
    forward, both = run_of(ATTENTION[name], **mask)
    try:
        got = jax.block_until_ready(both(*given))
        jax.block_until_ready(forward(*given))
    except (jax.errors.JaxRuntimeError, RuntimeError, ValueError, NotImplementedError) as e:
        return {"failed": str(e).splitlines()[0]}
    real = np.asarray(mask["tokens"].segments_BT) > 0
    errors = {}
    for what, a, b in zip(("out", "dq", "dk", "dv"), got, exact, strict=True):
        a, b = (np.asarray(x, np.float32)[real] for x in (a, b))
        errors[what] = float(np.linalg.norm(a - b) / np.linalg.norm(b))
    return {
        "errors": errors,
        "forward_ms": median_ms(lambda: forward(*given)),
        "both_ms": median_ms(lambda: both(*given)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", nargs="+", type=int, default=[512, 2048])
    parser.add_argument("--tokens", type=int, default=8192, help="tokens in all rows of a batch")
    parser.add_argument(
        "--plain-up-to",
        type=int,
        default=512,
        help="longer rows without the plain computation: a GPU tunes each product",
    )
    parser.add_argument("--at-most", type=float, default=0.02, help="the largest relative error that passes")
    parser.add_argument("--out", type=Path, required=True, help="JSON")
    args = parser.parse_args()
    mesh, platform = sharding.make_mesh(MeshConfig(), jax.local_devices()[:1]), jax.default_backend()
    cells, worst = [], 0.0
    print("| shapes | rows | mask | attention | error: out, dq, dk, dv | forward, ms | with backward, ms |")
    print("|---|---|---|---|---|---|---|")
    for (shapes, (N, K, H)), length in ((s, n) for s in SHAPES.items() for n in args.lengths):
        rows = max(1, args.tokens // length)
        keys = jax.random.split(jax.random.key(length), 4)
        given = [
            jax.random.normal(r, (rows, length, n, H), jnp.bfloat16) for r, n in zip(keys, (N, K, K, N), strict=True)
        ]
        for kind, (tokens, pattern) in masks(rows, length).items():
            # nothing flows back from the empty end of a row
            given[3] = given[3] * (tokens.segments_BT > 0)[..., None, None].astype(jnp.bfloat16)
            of = {"tokens": tokens, "pattern": pattern}
            with jax.default_matmul_precision("highest"):
                _, exactly = run_of(reference, **of, how=ComputeOptions(mesh=mesh))
                exact = exactly(*[x.astype(jnp.float32) for x in given])
            how = ComputeOptions(mesh=mesh, dtype="bfloat16", product_dtype="bfloat16")
            for name in (
                n for n in ATTENTION if platform in PLATFORM[n] and (n != "plain" or length <= args.plain_up_to)
            ):
                made = cell(name, exact, tuple(given), **of, how=how)
                cells.append({"shapes": shapes, "rows": rows, "length": length, "mask": kind, "attention": name} | made)
                if "failed" in made:
                    print(f"| {shapes} | {rows} x {length} | {kind} | {name} | {made['failed']} | | |", flush=True)
                    continue
                worst = max(worst, *(np.nan_to_num(e, nan=np.inf) for e in made["errors"].values()))
                errors = ", ".join(f"{e:.4f}" for e in made["errors"].values())
                times = f"{made['forward_ms']:.2f} | {made['both_ms']:.2f}"
                print(f"| {shapes} | {rows} x {length} | {kind} | {name} | {errors} | {times} |", flush=True)
    device = jax.devices()[0].device_kind
    args.out.write_text(json.dumps({"device": device, "jax": jax.__version__, "cells": cells}, indent=2) + "\n")
    failed = [c for c in cells if "failed" in c]
    print(f"\n{device}, JAX {jax.__version__}; largest error {worst:.4f}; {len(failed)} could not run")
    sys.exit(int(worst > args.at_most or bool(failed)))


if __name__ == "__main__":
    main()
