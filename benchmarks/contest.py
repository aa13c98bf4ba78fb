"""What `train_step.py` and `score.py` share: ours against torch and transformers, in turns, one at a time.

Each competitor is a process that keeps its state. A round is one pass over the same questions by each of them; rates
are medians over rounds, and ratios compare passes of the same round. A question is an example in one order of its
options. Its real tokens are those that it has alone, whatever is padded or shared, so rates compare.
"""

import argparse
import contextlib
import dataclasses
import itertools
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workers import Worker, watched

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = {"dilemmas": 128, "anecdotes": 12}  # a pass of the slowest is about a minute on two cores
HEADER = (
    "| | settings | questions/s | real tokens/s | ours is faster by | peak GiB | to first step, s | "
    "first step, s |\n|---|---|---|---|---|---|---|---|"
)


def parser(doc: str) -> argparse.ArgumentParser:
    """Flags of both benchmarks; what it does not know are fields of our config."""
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--task", choices=tuple(EXAMPLES), required=True)
    p.add_argument("--path", required=True, help="the task's rows in the released schema")
    p.add_argument("--out", type=Path, required=True, help="JSON")
    p.add_argument("--config", help="ours, FILE[:PRESET]; default: configs/scruples/smollm2_TASK.py")
    p.add_argument("--examples", type=int, help="so many of the rows; default: 128 dilemmas, 12 anecdotes")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--peers", nargs="*", choices=("careful", "naive"), default=["careful", "naive"])
    p.add_argument("--torch-python", default=sys.executable, help="an interpreter with torch and transformers")
    p.add_argument("--careful-batch", type=int, nargs="+", default=[8, 16], help="questions; the fastest is taken")
    p.add_argument("--careful-precision", nargs="+", default=["bfloat16", "float32"], help="the fastest is taken")
    p.add_argument("--naive-batch", type=int, default=8)
    return p


@dataclasses.dataclass(frozen=True)
class Contest:
    """One kind of work, and what its competitors are told."""

    work: str  # train or score
    flags: list[str]  # our config
    torch_python: str
    folder: Path
    peer: dict[str, Any]  # weights, questions, and whatever else every peer needs

    @contextlib.contextmanager
    def ours(self, *flags: str, kind: str | None = None) -> Iterator[Worker]:
        environment = {"MORAL_JAX_CACHE": str(self.folder / "cache")}  # no compiled programs of earlier runs
        with Worker("ours", sys.executable, "ours.py", environment) as worker:
            worker.start(kind or self.work, flags=[*self.flags, *flags])
            yield worker

    @contextlib.contextmanager
    def torch(self, style: str, batch: int, precision: str, **more: Any) -> Iterator[Worker]:
        with Worker(f"{style} torch", self.torch_python, "peers.py", {}) as worker:
            worker.start(self.work, style=style, batch=batch, precision=precision, **self.peer, **more)
            yield worker


def converted(python: str, weights: str, folder: Path) -> str:
    """Returns our weights as a folder that transformers writes: it is slow to read GGUF, and trains none of it."""
    if Path(weights).is_dir():
        return weights
    made = folder / "weights"
    if not made.exists():
        with Worker("conversion", python, "peers.py", {}) as worker:
            worker.start("convert", weights=weights, folder=str(made))
    return str(made)


@contextlib.contextmanager
def prepare(work: str, args: argparse.Namespace, flags: list[str], peer: dict[str, Any]) -> Iterator[Contest]:
    """Encodes the rows and writes them for the peers; converts weights that transformers is slow to read.

    Args:
      flags: fields of our config.
      peer: what every peer is told besides weights, questions and, for training, our optimizer.
    """
    ours = [
        f"--config={args.config or ROOT / 'configs' / 'scruples' / f'smollm2_{args.task}.py'}",
        f"--config.task.name={args.task}",
        f"--config.task.path={args.path}",
        f"--config.task.limit={args.examples or EXAMPLES[args.task]}",
        "--config.task.validation=0",
        *flags,
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        questions = folder / "questions.jsonl"
        draft = Contest(work, ours, args.torch_python, folder, {})
        with draft.ours(kind="encode") as encoder:
            encoder.ask("write", path=str(questions))
            about = encoder.about
        weights = converted(args.torch_python, about["weights"], folder)
        told = {"weights": weights, "questions": str(questions)} | peer
        yield dataclasses.replace(draft, peer=told | ({"optim": about["config"]["optim"]} if work == "train" else {}))


def _fastest(contest: Contest, args: argparse.Namespace) -> tuple[int, str]:
    """Of the careful settings, those with most questions per second."""
    candidates = list(itertools.product(args.careful_batch, args.careful_precision))
    if len(candidates) == 1:
        return candidates[0]
    rates = {}
    for batch, precision in candidates:
        with contest.torch("careful", batch, precision) as worker:
            worker.ask("first")
            took = worker.ask("piece")
        rates[batch, precision] = took["questions"] / took["seconds"]
        print(f"careful, batches of {batch}, {precision}: {rates[batch, precision]:.2f} questions/s", flush=True)
    return max(rates, key=rates.get)


def turn(worker: Worker) -> dict[str, float]:
    """One piece, and how many cores other processes had meanwhile."""
    piece, others = watched(worker, "piece")
    return piece | {"cores_of_others": others}


def summary(pieces: list[dict[str, float]], ours: list[dict[str, float]]) -> dict[str, Any]:
    ratios = [theirs["seconds"] / mine["seconds"] for theirs, mine in zip(pieces, ours, strict=True)]
    return {
        "questions_per_second": statistics.median(p["questions"] / p["seconds"] for p in pieces),
        "tokens_per_second": statistics.median(p["tokens"] / p["seconds"] for p in pieces),
        "ours_is_faster_by": {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)},
        "pieces": pieces,
    }


def compete(contest: Contest, args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Starts the competitors one after the other, then lets them work in turns; who begins a round changes."""
    settings = {"naive": (args.naive_batch, "float32")}
    if "careful" in args.peers:
        settings["careful"] = _fastest(contest, args)
    with contextlib.ExitStack() as running:
        workers = {}
        for name in ("ours", *args.peers):
            made = contest.ours() if name == "ours" else contest.torch(name, *settings[name])
            workers[name] = running.enter_context(made)
        return race(workers, args.rounds)


def race(workers: dict[str, Worker], rounds: int) -> dict[str, dict[str, Any]]:
    """Lets competitors work in turns, each first alone for a step; who begins a round changes.

    One of them is "ours".
    """
    results, pieces = {}, {name: [] for name in workers}
    for name, worker in workers.items():
        first = worker.ask("first")
        results[name] = worker.about | {"to_first_step_seconds": worker.age(), "first_step_seconds": first}
    names = list(workers)
    for number in range(rounds):
        begins = number % len(names)
        for name in names[begins:] + names[:begins]:
            piece = turn(workers[name])
            pieces[name].append(piece)
            others = f"others used {piece['cores_of_others']:.2f} cores"
            print(f"round {number + 1}, {name}: {piece['seconds']:.1f} s, {others}", flush=True)
    for name, worker in workers.items():
        results[name] |= {"peak_gib": worker.peak_gib()} | summary(pieces[name], pieces["ours"])
    return results


def table(results: dict[str, dict[str, Any]]) -> str:
    lines = [HEADER]
    for name, r in results.items():
        ratio = r["ours_is_faster_by"]
        faster = "" if name == "ours" else f"{ratio['median']:.2f} ({ratio['lowest']:.2f} to {ratio['highest']:.2f})"
        lines.append(
            f"| {name} | {r['settings']} | {r['questions_per_second']:.2f} | "
            f"{r['tokens_per_second']:.0f} | {faster} | {r['peak_gib']:.2f} | {r['to_first_step_seconds']:.1f} | "
            f"{r['first_step_seconds']:.1f} |"
        )
    return "\n".join(lines)


def report(args: argparse.Namespace, results: dict[str, Any], agreement: dict[str, Any]) -> None:
    """Prints the table and writes the JSON."""
    flags = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
    cores = len(os.sched_getaffinity(0))
    whole = {"flags": flags, "cores": cores, "results": results, "agreement": agreement}
    args.out.write_text(json.dumps(whole, indent=2) + "\n")
    one = results["ours"]["pieces"][0]
    others = max(p["cores_of_others"] for r in results.values() for p in r["pieces"])
    print(
        f"\n{args.task}: {one['questions']} questions of {one['tokens']} tokens in all, rounds: {args.rounds}; ", end=""
    )
    print(f"{cores} cores, of which other processes had at most {others:.2f} in any pass\n")
    print(table(results))
