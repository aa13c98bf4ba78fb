"""Model FLOPs a second against the machine's peak, measured beside: full fine-tuning, LoRA and QLoRA over lengths.

    python benchmarks/mfu.py --config=configs/scruples/smollm2_dilemmas.py --out=mfu.json
    python benchmarks/mfu.py --config=configs/scruples/mistral_7b_dilemmas.py:gpu-80gb --lengths 512 1024 2048 4096 \\
        --methods full lora qlora --out=mfu.json

Shapes of the config's model with random weights, rows full of questions, as many tokens a step at every length as the
config has at its own. `--layers=4` is a first look at a large model.
"""

import argparse
from pathlib import Path

import shapes

from moral_jax.config import parsing

METHODS = {
    "full": ["--config.adapter.kind=none", "--config.model.quantize=none"],
    "lora": ["--config.adapter.kind=lora"],
    "qlora": ["--config.adapter.kind=lora", "--config.model.quantize=nf4"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="FILE[:PRESET]; --config.SECTION.FIELD=VALUE works")
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=["full", "lora"])
    parser.add_argument("--lengths", nargs="+", type=int, help="tokens in a row; default: the config's")
    parser.add_argument("--layers", type=int, help="fewer layers, for a first look")
    parser.add_argument("--out", type=Path, required=True, help="JSON")
    args, rest = parser.parse_known_args()
    flags = [f"--config={args.config}", *rest]
    data = parsing.from_flags(flags).data
    cells = {}
    for length in args.lengths or [data.length]:
        rows = max(1, data.micro_batch_size * data.length // length)
        steps = max(1, data.batch_size * data.length // length // rows)
        of_length = [
            f"--config.data.length={length}",
            f"--config.data.micro_batch_size={rows}",
            f"--config.data.batch_size={rows * steps}",
        ]
        for method in args.methods:
            name = f"{method}, {rows * steps} rows of {length}"
            cells[name] = shapes.cell([*flags, *of_length, *METHODS[method]], args.layers)
            print(name, cells[name], flush=True)
    shapes.show(cells, args.out)


if __name__ == "__main__":
    main()
