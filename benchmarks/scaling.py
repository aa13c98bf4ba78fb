"""Tokens/s and memory against length, rows in a batch, depth, and options: one is changed, the others stay.

    python benchmarks/scaling.py --config=configs/scruples/smollm2_dilemmas.py --out=scaling.json

Shapes of the config's model with random weights, rows full of questions. The base of all series is
`--base-layers` layers, micro-batches of 2 rows of 512 tokens, 2 options.
"""

import argparse
from pathlib import Path

import shapes

SERIES = {
    "length": [128, 256, 512, 1024, 2048, 4096],
    "rows": [1, 2, 4, 8],
    "layers": [6, 12, 24, 30],
    "options": [2, 5, 10],
}


def _cell(config: str, rest: list[str], base: dict[str, int], changed: dict[str, int]) -> dict:
    a = base | changed
    flags = [
        f"--config={config}",
        f"--config.data.length={a['length']}",
        f"--config.data.questions_per_row={max(1, a['length'] // 64)}",
        f"--config.data.micro_batch_size={a['rows']}",
        f"--config.data.batch_size={a['rows']}",
        f"--config.eval.batch_size={a['rows']}",
    ]
    return shapes.cell([*flags, *rest], a["layers"], a["options"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="FILE[:PRESET]; --config.SECTION.FIELD=VALUE works")
    parser.add_argument("--base-layers", type=int, default=6)
    parser.add_argument("--series", nargs="+", choices=tuple(SERIES), default=list(SERIES))
    parser.add_argument("--out", type=Path, required=True, help="JSON")
    args, rest = parser.parse_known_args()
    base = {"length": 512, "rows": 2, "layers": args.base_layers, "options": 2}
    cells = {}
    for series in args.series:
        for value in SERIES[series]:
            name = f"{series} {value}"
            cells[name] = _cell(args.config, rest, base, {series: value})
            print(name, cells[name], flush=True)
    shapes.show(cells, args.out)


if __name__ == "__main__":
    main()
