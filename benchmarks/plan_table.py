"""The README's table: 7-8 B models on three slices, each with the largest micro-batch that the TPU compiler accepts.

    python benchmarks/plan_table.py --out=plans.jsonl

Weights are cut over all chips, layers recomputed in the backward pass. Rows that stand in --out are not made again.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from moral_jax import config_io
from moral_jax.logs import say
from moral_jax.plan import compile as plans
from moral_jax.plan import run as plan

MODELS = ("mistral_7b", "llama_3_1_8b", "zephyr_7b")
SLICES = {"v5e-16": "v5e:4x4", "v6e-8": "v6e:2x4", "v5p-8": "v5p:2x2x1"}
HEADER = (
    "| model | slice | micro-batch, rows | peak GiB | of | products, TFLOP | sent, GB | step >= s | MFU <= | fits |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


def row(slice_name: str, s: dict[str, Any]) -> str:
    t, b = s["training"], s["bound"]
    return (
        f"| {s['model'].split('/')[1]} | {slice_name} | {s['micro_rows']} | {t['peak_gib']:.2f} | {s['limit_gib']} | "
        f"{t['flops'] / 1e12:.0f} | {sum(t['sent_gb'].values()):.0f} | {b['seconds']:.2f} | {b['mfu']:.0%} | "
        f"{'yes' if s['fits'] else 'no'} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, one per row")
    args = parser.parse_args()
    done = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    for model in MODELS:
        for preset, topology in SLICES.items():
            if any((r["of"], r["slice"]) == (model, preset) for r in done):
                continue
            # the first model is searched from its preset, the others from where it ended: they are almost alike
            rows = next((r["micro_rows"] for r in done if r["slice"] == preset), None)
            start = [f"--config.data.micro_batch_size={rows}", f"--config.data.batch_size={rows}"] if rows else []
            config = config_io.from_flags([f"--config=configs/scruples/{model}_dilemmas.py:{preset}", *start])
            spec = plan.read_spec(config.model.path)
            found = plan.search(config, spec, plans.topology(topology), remats=("full",), tensors=(1,))
            done.append({"of": model, "slice": preset} | plan.summary(max(found, key=lambda p: p.micro_rows)))
            with args.out.open("a") as f:
                f.write(json.dumps(done[-1]) + "\n")
            say("\n".join([HEADER, *(row(r["slice"], r) for r in done)]))


if __name__ == "__main__":
    main()
