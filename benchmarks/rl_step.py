"""A step of GRPO against TRL with transformers' generate: seconds, their parts, peak memory.

    python benchmarks/rl_step.py --path=prompts.jsonl --peer-python=VENV/bin/python --out=rl.json

Both write `--n` replies of `--tokens` tokens to each of `--prompts` prompts with all weights of SmolLM2-135M in
float32, reward them by a rule on their text, and take one optimizer step (AdamW, constant rate, no reference), each in
its turn. Replies go on to their full length, so that both compute as many tokens. A question of the table is a reply.
"""

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
from pathlib import Path

import contest
from workers import Worker


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True, help="rows of prompts")
    parser.add_argument("--out", type=Path, required=True, help="JSON")
    parser.add_argument("--peer-python", required=True, help="an interpreter with trl")
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--n", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--peer-micro", type=int, default=8, help="replies in a micro-batch of TRL's")
    parser.add_argument("--peer-precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=3)
    args, rest = parser.parse_known_args()
    flags = [
        f"--config={contest.ROOT / 'configs' / 'rl' / 'grpo.py'}",
        f"--config.task.path={args.path}",
        "--config.task.validation=0",
        "--config.task.test=0",
        f"--config.rollout.prompts={args.prompts}",
        f"--config.rollout.sample.n={args.n}",
        f"--config.rollout.sample.max_tokens={args.tokens}",
        f"--config.rollout.sample.slots={args.prompts * args.n}",
        f"--config.rollout.reward={Path(__file__).parent / 'ours.py'}:letters",
        "--config.objective.kl_weight=0",
        "--config.optim.clip=none",
        "--config.train.epochs=1000",
        f"--config.data.length={128 + args.n * args.tokens}",  # a group fits into a row
        "--config.data.micro_batch_size=1",
        "--config.model.dtype=float32",
        "--config.model.product_dtype=float32",
        *rest,
    ]
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as running:
        folder = Path(name)
        mine = running.enter_context(Worker("ours", sys.executable, "ours.py", {"MORAL_JAX_CACHE": name}))
        mine.start("rollouts", flags=flags)
        prompts = folder / "prompts.jsonl"
        mine.ask("write_prompts", path=str(prompts))
        theirs = running.enter_context(Worker("trl", args.peer_python, "rl_peers.py", {"HF_HUB_OFFLINE": "1"}))
        theirs.start(
            "train",
            weights=contest.converted(args.peer_python, mine.about["weights"], folder),
            gguf=mine.about["weights"],
            prompts=str(prompts),
            how={
                "prompts": args.prompts,
                "n": args.n,
                "max_tokens": args.tokens,
                "micro": args.peer_micro,
                "precision": args.peer_precision,
            },
            optim={name: mine.about["config"]["optim"][name] for name in ("lr", "b1", "b2", "eps")},
        )
        results = contest.race({"ours": mine, "trl": theirs}, args.rounds)
    print(f"\n{contest.table(results)}")
    for name, result in results.items():
        parts = {
            part: statistics.median(piece["parts"][part] for piece in result["pieces"])
            for part in result["pieces"][0]["parts"]
        }
        print(f"{name}: " + ", ".join(f"{part} {seconds:.1f} s" for part, seconds in parts.items()))
    args.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
