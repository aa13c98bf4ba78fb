"""Fine-tuning against torch + transformers (+ PEFT), careful and naive: questions/s, memory, start, equal losses.

    python benchmarks/train_step.py --task=dilemmas --path=dev.scruples-dilemmas.jsonl --out=train_dilemmas.json
    python benchmarks/train_step.py --task=anecdotes --path=anecdotes.jsonl --method=lora --out=lora_anecdotes.json

AdamW and soft cross-entropy over the options' tokens at the answer position; constant rate, no clipping. An example is
shown in two orders of its options, each of which is a question. Ours takes its batches, precision and prompts from the
config (any --config.SECTION.FIELD=VALUE); the careful peer has the fastest of --careful-batch x --careful-precision.
Where this interpreter has no torch, --torch-python names one that has.
"""

from typing import Any

import contest


def agreement(of: contest.Contest, steps: int, lora: bool) -> dict[str, Any]:
    """Losses of equal steps, both in float32: the same questions in the same batches, the same AdamW, and with LoRA the
    same first adapters, which PEFT reads from our files."""
    adapters = str(of.folder / "adapters") if lora else None
    with of.ours("--config.model.dtype=float32") as ours:
        if adapters:
            ours.ask("save_adapters", folder=adapters)
        mine = ours.ask("losses", steps=steps)
    with of.torch("careful", 16, "float32", adapters=adapters) as torch:
        theirs = torch.ask("losses", batches=mine["batches"])
    largest = max(abs(a - b) for a, b in zip(mine["losses"], theirs, strict=True))
    return {"steps": steps, "ours": mine["losses"], "torch": theirs, "largest_difference": largest}


def main() -> None:
    parser = contest.parser(__doc__)
    parser.add_argument("--method", choices=("full", "lora"), default="full")
    parser.add_argument("--rank", type=int, default=16, help="of LoRA; its alpha is twice that")
    parser.add_argument("--steps", type=int, default=20, help="whose losses are compared; 0: none")
    args, rest = parser.parse_known_args()
    flags = ["--config.task.test=0", "--config.train.epochs=1", "--config.optim.schedule=constant"]
    flags += ["--config.optim.warmup=0", "--config.optim.clip=none"]
    if args.method == "lora":
        flags += ["--config.adapter.kind=lora", f"--config.adapter.rank={args.rank}"]
    rank = args.rank if args.method == "lora" else None
    with contest.prepare("train", args, [*flags, *rest], {"lora_rank": rank}) as made:
        results = contest.compete(made, args)
        agreed = agreement(made, args.steps, args.method == "lora") if args.steps else {}
    contest.report(args, results, agreed)
    if agreed:
        print(f"\nlosses of {args.steps} equal steps in float32 differ by at most {agreed['largest_difference']:.2g}")


if __name__ == "__main__":
    main()
