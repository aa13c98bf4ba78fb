"""Does it hold beyond one data set? SmolLM2 trained on each set of moral votes, on all but each, and on all; tested on
each. And which part did it? The recipe without one part at a time.

    moral-jax study --config=configs/studies/transfer.py:DATA
"""

from moral_jax.study.spec import Study, ablations, transfer

SOURCES = ("dilemmas", "moca", "unimoral", "mfv")


def get_study(data="data"):
    mixture = f"configs/mixtures/moral_votes.py:{data}"
    parts = {
        "votes, their majority in place": ("--config.task.majority=true",),
        "both orders in a step": ("--config.train.orders_per_epoch=1",),
        "warm-up": ("--config.optim.warmup=0",),
    }
    cells = [
        *transfer("SmolLM2-135M", "moral votes", mixture, sources=SOURCES, seeds=(0,)),
        *ablations("SmolLM2-135M", "moral votes", mixture, parts=parts, seeds=(0,)),
    ]
    return Study("What training on the votes of one data set does on others", tuple(cells))
