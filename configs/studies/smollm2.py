"""Scruples DILEMMAS on two cores: shallow baselines, a small encoder, SmolLM2-135M before and after tuning.

With the released dev file alone: --config.task.path=dev.scruples-dilemmas.jsonl, a fifth of which is held out.
"""

from moral_jax.study.spec import CE, DIRICHLET, Study, baseline, both_objectives, tuned, zero_shot

DECODER = "configs/scruples/smollm2_dilemmas.py"
DIRICHLET_DECODER = "configs/scruples/smollm2_dilemmas_dirichlet.py"
ENCODER = "configs/scruples/minilm_dilemmas.py"
BASELINES = ("prior", "fewest_words", "most_words", "logistic_ranker", "style_ranker")
SEEDS = (0, 1, 2)


def get_study():
    cells = [
        *(baseline(name, "dilemmas", DECODER) for name in BASELINES),
        *both_objectives("MiniLM-L6", "dilemmas", ENCODER, seeds=SEEDS),
        zero_shot("SmolLM2-135M", "dilemmas", DECODER),
        *tuned("SmolLM2-135M", "dilemmas", CE, DECODER, seeds=SEEDS),
        *tuned("SmolLM2-135M", "dilemmas", DIRICHLET, DIRICHLET_DECODER, seeds=SEEDS),
    ]
    return Study("Which of two actions is less ethical: what small models make of the votes", tuple(cells))
