"""Scruples DILEMMAS on two cores: shallow baselines, a small encoder, and SmolLM2-135M asked in two ways: both actions
in one prompt, in both orders; and each action alone, one score each.

With the released dev file alone: --config.task.path=dev.scruples-dilemmas.jsonl, a fifth of which is held out.
"""

from moral_jax.study.spec import CE, Study, baseline, both_objectives, learning_curve, tuned, zero_shot

PAIR = "configs/scruples/smollm2_dilemmas.py"
EACH = "configs/scruples/smollm2_dilemmas_each.py"
ENCODER = "configs/scruples/minilm_dilemmas.py"
BASELINES = ("prior", "fewest_words", "most_words", "logistic_ranker", "style_ranker")
SEEDS = (0, 1, 2)


def get_study():
    cells = [
        *(baseline(name, "dilemmas", PAIR) for name in BASELINES),
        baseline("frozen_states", "dilemmas", ENCODER),
        *both_objectives("MiniLM-L6", "dilemmas", ENCODER, seeds=SEEDS),
        zero_shot("SmolLM2-135M, pair", "dilemmas", PAIR),
        *tuned("SmolLM2-135M, pair", "dilemmas", CE, PAIR, seeds=SEEDS),
        zero_shot("SmolLM2-135M, each", "dilemmas", EACH),
        *both_objectives("SmolLM2-135M, each", "dilemmas", EACH, seeds=SEEDS),
        *learning_curve("MiniLM-L6", "dilemmas", CE, ENCODER, shares=(0.1, 0.3), seeds=SEEDS),
    ]
    return Study("Which of two actions is less ethical: what small models make of the votes", tuple(cells))
