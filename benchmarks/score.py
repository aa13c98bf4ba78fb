"""Scoring against torch + transformers, careful and naive: questions/s, memory, start, equal probabilities.

    python benchmarks/score.py --task=dilemmas --path=dev.scruples-dilemmas.jsonl --out=score_dilemmas.json
    python benchmarks/score.py --task=anecdotes --path=anecdotes.jsonl --out=score_anecdotes.json

Every example under every order of its options, each of which is a question: two orders of a dilemma, five of an
anecdote. What comes out are the options' probabilities at the answer position. Ours takes its batches, precision and
prompts from the config (any --config.SECTION.FIELD=VALUE); the careful peer has the fastest of --careful-batch x
--careful-precision. Where this interpreter has no torch, --torch-python names one that has.
"""

from typing import Any

import contest
import numpy as np


def agreement(of: contest.Contest) -> dict[str, Any]:
    """How far the probabilities of all questions lie apart, both in float32."""
    with of.ours("--config.model.dtype=float32") as ours:
        mine = np.concatenate(ours.ask("probabilities"))
    with of.torch("careful", 16, "float32") as torch:
        theirs = np.concatenate(torch.ask("probabilities"))
    apart = np.abs(mine - theirs)
    return {
        "probabilities": len(apart),
        "mean_difference": float(apart.mean()),
        "largest_difference": float(apart.max()),
    }


def main() -> None:
    parser = contest.parser(__doc__)
    args, rest = parser.parse_known_args()
    flags = ["--config.task.test=1", "--config.train.steps=0", *rest]
    with contest.prepare("score", args, flags, {}) as made:
        results = contest.compete(made, args)
        agreed = agreement(made)
    contest.report(args, results, agreed)
    mean, largest = agreed["mean_difference"], agreed["largest_difference"]
    print(
        f"\n{agreed['probabilities']} probabilities in float32 differ by {mean:.2g} on average, at most {largest:.2g}"
    )


if __name__ == "__main__":
    main()
