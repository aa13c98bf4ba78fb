"""SFT and DPO steps against TRL: pairs or texts a second, real tokens a second, peak memory, equal losses.

    python benchmarks/text_step.py --method=dpo --path=pairs.jsonl --peer-python=VENV/bin/python --out=dpo.json
    python benchmarks/text_step.py --method=sft --path=chats.jsonl --peer-python=VENV/bin/python --out=sft.json

Both train all weights of SmolLM2-135M in float32 with AdamW at a constant rate, on the same token ids; references of
DPO are computed before on both sides. --peer-python has trl==1.16.0, torch and gguf in an environment of its own. Ours
takes its rows from the config (any --config.SECTION.FIELD=VALUE). Losses of equal steps are compared in batches of
--peer-batch rows, one question a row. With --apart only one side is in memory at a time: each starts anew in every
round.
"""

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import contest
from workers import Worker

CONFIGS = {"sft": "text/sft", "dpo": "preferences/dpo"}


@contextlib.contextmanager
def ours(args: argparse.Namespace, rest: list[str], kind: str, *flags: str) -> Iterator[Worker]:
    """Starts our side."""
    given = [
        f"--config={contest.ROOT / 'configs' / CONFIGS[args.method]}.py",
        f"--config.task.path={args.path}",
        "--config.task.validation=0",
        "--config.task.test=0",
        "--config.task.on_bad_row=drop",
        "--config.train.epochs=1",
        "--config.optim.schedule=constant",
        "--config.optim.warmup=0",
        "--config.optim.clip=none",
        "--config.optim.weight_decay=0",
        "--config.model.dtype=float32",
        *rest,
        *flags,
    ]
    with (
        tempfile.TemporaryDirectory() as cache,
        Worker("ours", sys.executable, "ours.py", {"MORAL_JAX_CACHE": cache}) as w,
    ):
        w.start(kind, flags=given)
        yield w


@contextlib.contextmanager
def trl(
    args: argparse.Namespace, about: dict[str, Any], rows: str, folder: Path, precision: str | None = None
) -> Iterator[Worker]:
    """Starts TRL's side."""
    config, weights = about["config"], contest.converted(args.peer_python, about["weights"], folder)
    with Worker("trl", args.peer_python, "text_peers.py", {"HF_HUB_OFFLINE": "1"}) as w:
        w.start(
            "train",
            weights=weights,
            gguf=about["weights"],
            rows=rows,
            method=args.method,
            batch=args.peer_batch,
            precision=args.peer_precision if precision is None else precision,
            optim={name: config["optim"][name] for name in ("lr", "b1", "b2", "eps")},
            beta=config["objective"]["beta"],
        )
        yield w


def agreement(args: argparse.Namespace, rest: list[str], folder: Path) -> dict[str, Any]:
    """Losses of equal steps: the same rows in the same batches."""
    size = args.peer_batch
    one = [
        f"--config.data.batch_size={size}",
        f"--config.data.micro_batch_size={size}",
        "--config.data.questions_per_row=1",
    ]
    exact = ["--config.model.product_dtype=float32", *one, f"--config.task.limit={size * args.steps}"]
    with ours(args, rest, "texts", *exact) as w:
        rows, about = str(folder / "equal.jsonl"), w.about
        w.ask("write_texts", path=rows)
        w.ask("prepare")
        mine = w.ask("losses", steps=args.steps)
    with trl(args, about, rows, folder, "float32") as w:
        theirs = w.ask("losses", batches=mine["batches"])
    largest = max(abs(a - b) for a, b in zip(mine["losses"], theirs, strict=True))
    return {"steps": len(theirs), "ours": mine["losses"], "trl": theirs, "largest_difference": largest}


def apart(sides: dict[str, Callable[[], contextlib.AbstractContextManager[Worker]]], rounds: int) -> dict[str, Any]:
    """Lets competitors work in turns as `contest.race` does, each in a new process every time."""
    results: dict[str, Any] = {}
    pieces: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    names = list(sides)
    for number in range(rounds):
        for name in names[:: -1 if number % 2 else 1]:
            with sides[name]() as worker:
                first = worker.ask("first")
                started = {"to_first_step_seconds": worker.age(), "first_step_seconds": first}
                pieces[name].append(contest.turn(worker))
                peak = max(worker.peak_gib(), results.get(name, {}).get("peak_gib", 0.0))
                results[name] = worker.about | started | {"peak_gib": peak}
            piece = pieces[name][-1]
            others = f"others used {piece['cores_of_others']:.2f} cores"
            print(f"round {number + 1}, {name}: {piece['seconds']:.1f} s, {others}, peak {peak:.2f} GiB", flush=True)
    return {name: results[name] | contest.summary(pieces[name], pieces["ours"]) for name in names}


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=tuple(CONFIGS), required=True)
    parser.add_argument("--path", required=True, help="rows of texts or pairs")
    parser.add_argument("--out", type=Path, required=True, help="JSON")
    parser.add_argument("--peer-python", required=True, help="an interpreter with trl")
    parser.add_argument("--peer-batch", type=int, default=4)
    parser.add_argument("--peer-precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--apart", action="store_true", help="where both do not fit into memory")
    parser.add_argument("--steps", type=int, default=20, help="whose losses are compared; 0: none")
    args, rest = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as running:
        folder = Path(name)
        agreed = agreement(args, rest, folder) if args.steps else None
        if agreed:
            print(
                f"losses of {agreed['steps']} equal steps differ by at most {agreed['largest_difference']:.2g}",
                flush=True,
            )
        results = {}
        if args.rounds and args.apart:
            rows = str(folder / "rows.jsonl")
            with ours(args, rest, "encode") as w:
                w.ask("write_texts", path=rows)
                about = w.about
            sides = {"ours": lambda: ours(args, rest, "texts"), "trl": lambda: trl(args, about, rows, folder)}
            results = apart(sides, args.rounds)
        elif args.rounds:
            mine = running.enter_context(ours(args, rest, "texts"))
            rows = str(folder / "rows.jsonl")
            mine.ask("write_texts", path=rows)
            theirs = running.enter_context(trl(args, mine.about, rows, folder))
            results = contest.race({"ours": mine, "trl": theirs}, args.rounds)
    if results:
        print(f"\n{contest.table(results)}")
    args.out.write_text(json.dumps({"results": results, "agreement": agreed}, indent=2) + "\n")


if __name__ == "__main__":
    main()
