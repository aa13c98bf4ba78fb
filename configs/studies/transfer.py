"""Does it hold beyond one data set? SmolLM2 trained on each set of moral votes, on all but each, and on all; tested on
each.

    moral-jax study --config=configs/studies/transfer.py:DATA
"""

from moral_jax.study.spec import Study, transfer

SOURCES = ("dilemmas", "moca", "unimoral", "mfv")


def get_study(data="data"):
    mixture = f"configs/mixtures/moral_votes.py:{data}"
    cells = transfer("SmolLM2-135M", "moral votes", mixture, sources=SOURCES, seeds=(0,))
    return Study("What training on the votes of one data set does on others", tuple(cells))
