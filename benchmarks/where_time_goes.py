"""Where the time of a pass goes on a CPU: shares of the threads' time by kind of work, from JAX's own profiler.

    python benchmarks/where_time_goes.py train --config=configs/scruples/smollm2_dilemmas.py \\
        --config.task.path=dev.scruples-dilemmas.jsonl --config.task.limit=128
    python benchmarks/where_time_goes.py score (the same)
    python benchmarks/where_time_goes.py write --model=... --prompts=questions.jsonl --count=8

The pass is that of `train_step.py`, `score.py` and, 64 tokens to each of some prompts of 32, `generate.py`. An
operation of the compiled program belongs to the line of code that it came from; where the compiler fused several, the
last one names them.
"""

import argparse
import collections
import gzip
import json
import os
import re
import resource
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import ours
from generate_ours import Ours

OPERATION = re.compile(r"^\s*(?:ROOT )?%?(\S+) = .*?op_name=\"([^\"]*)\"", re.MULTILINE)
MATRIX = r"/(query|key|value|out|gate|up|down)/"
KINDS = (  # the first that matches
    ("products with weights", rf"{MATRIX}.*dot_general"),
    ("weights and operands of products rounded, turned, stacked", rf"{MATRIX}|layers/(concatenate|slice)"),
    ("attention between positions", r"/attention/"),
    ("normalisation, activations, residuals, rotary positions", r"(De|En)coder"),
    ("optimizer, gradients' sums and norm", r"^jit\(step\)/"),
    ("logits of the next token", r"^jit\(_rounds\).*closed_call/(dot_general|convert_element_type)$"),
    ("choice of the next token", r"^jit\(_rounds\).*closed_call/"),
)
REST = "head, embedding, loss, and what has no name"
MODULE = re.compile(r"^HloModule ([^,\s]+)", re.MULTILINE)
OTHERS = {"jit__prefill_rows": "prompts"}
ALL = "--config.task.validation=0"
FLAGS = {
    "train": [ALL, "--config.task.test=0", "--config.train.epochs=1", "--config.optim.clip=none"],
    "score": [ALL, "--config.task.test=1", "--config.train.steps=0"],
    "write": [],
}


def kind_of(name: str) -> str:
    return next((kind for kind, pattern in KINDS if re.search(pattern, name)), REST)


def seconds_by_kind(trace: Path, program: str) -> collections.Counter:
    """Of all threads together. Other programs name their operations alike: what they take is told apart."""
    names, [module] = dict(OPERATION.findall(program)), MODULE.findall(program)
    out = collections.Counter()
    with gzip.open(trace) as f:
        for event in json.load(f)["traceEvents"]:
            args = event.get("args", {})
            operation = args.get("hlo_op", "while")
            if event.get("ph") != "X" or operation.startswith(("while", "call")):  # what lies in them is there too
                continue
            ran = args.get("hlo_module", "")
            kind = kind_of(names.get(operation, "")) if ran == module else OTHERS.get(ran, REST)
            out[kind] += event["dur"] / 1e6
    return out


class Writing:
    """Writes 64 tokens to each of some prompts of 32 tokens."""

    def __init__(self, flags: list[str]):
        parser = argparse.ArgumentParser()
        parser.add_argument("--model", required=True)
        parser.add_argument("--prompts", required=True)
        parser.add_argument("--count", type=int, default=8)
        args, rest = parser.parse_known_args(flags)
        self.side = Ours(args.model, args.prompts, rest)
        ids = np.random.default_rng(0).integers(100, self.side.about["vocab"], (args.count, 32))
        self.asked = {"ids": ids.tolist(), "tokens": [64] * args.count, "samples": 1}

    def piece(self) -> None:
        self.side.write(**self.asked)


def measure(work: str, flags: list[str], folder: Path) -> None:
    competitor = {"train": ours.Training, "score": ours.Scoring, "write": Writing}[work](flags)
    competitor.piece()
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    competitor.piece()
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    with jax.profiler.trace(str(folder / "trace")):
        competitor.piece()
    [trace] = folder.rglob("*.trace.json.gz")
    # the largest: a few small programs have the same name
    program = max(folder.rglob("*.cpu_after_optimizations.txt"), key=lambda file: file.stat().st_size)
    seconds = seconds_by_kind(trace, program.read_text())
    total = sum(seconds.values())
    print("| kind of work | share of the threads' time |\n|---|---|")
    for kind, spent in seconds.most_common():
        print(f"| {kind} | {spent / total:.0%} |")
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    print(f"\na pass without the profiler: {wall:.1f} s; processors {user:.1f} s, and {system:.1f} s in the kernel")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=tuple(FLAGS))
    args, flags = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as name:
        # read when JAX starts its backend: the program must be compiled here to be written down
        os.environ["MORAL_JAX_CACHE"] = f"{name}/cache"
        dump = f"--xla_dump_to={name}/program --xla_dump_hlo_as_text --xla_dump_hlo_module_re=jit_(step|score|_rounds)$"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {dump}"
        measure(args.work, [*flags, *FLAGS[args.work]], Path(name))


if __name__ == "__main__":
    main()
