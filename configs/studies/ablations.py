"""Which part of the recipe did it? SmolLM2 trained on five sets of moral votes, without one part at a time.

moral-jax study --config=configs/studies/ablations.py:DATA
"""

from moral_jax.study.spec import ON_ALL, Study, ablations, tuned, zero_shot

PARTS = {
    "votes, their majority in place": ("--config.task.majority=true",),
    "both orders in a step": ("--config.train.orders_per_epoch=1",),
    "warm-up": ("--config.optim.warmup=0",),
}


def get_study(data="data"):
    mixture = f"configs/mixtures/moral_votes.py:{data}"
    cells = [
        zero_shot("SmolLM2-135M", "moral votes", mixture),
        *tuned("SmolLM2-135M", "moral votes", ON_ALL, mixture, seeds=(0,)),
        *ablations("SmolLM2-135M", "moral votes", mixture, parts=PARTS, seeds=(0,)),
    ]
    return Study("The recipe without one of its parts", tuple(cells))
