"""AI Development Support (arXiv 2502.19798): replies of higher stages are learned, then preferred; E[stage] is shown.

    moral-jax development scenarios.jsonl --model=OWNER/WRITER --judge=rubric:stages@OWNER/JUDGE --out=records
    moral-jax development records --out=rows
    moral-jax study --config=studies/development:rows@OWNER/JUDGE --config.model.path=OWNER/MODEL

The judge answers a rubric of six stages, and must not be the model under test: there is no default. Swapped preferences
must lower what preferences raise.
"""

from pathlib import Path

from moral_jax.study.spec import Measure, Study
from moral_jax.study.stages import Stage, cells

SEEDS = (0, 1, 2)
EVERYWHERE = ("--config.adapter.kind=lora", "--config.adapter.rank=16")
LEARNED = ("--config.task.validation=0", "--config.task.test=0.1", "--config.task.fields.key={scenario}")


def get_study(setting="rows"):
    folder, _, judge = setting.partition("@")

    def rows(name):
        return f"--config.task.path={Path(folder) / name}.jsonl"

    def learned(name, file):
        return Stage(name, "text/sft", (rows(file), *LEARNED, "--config.optim.lr=1e-5", "--config.train.epochs=3"))

    def preferred(name, file):
        return Stage(name, "preferences/dpo", (rows(file), *LEARNED, "--config.optim.lr=5e-7"))

    sft, dpo = learned("sft", "texts"), preferred("dpo", "pairs")
    arms = {
        "base": (),
        "sft": (sft,),
        "sft with the cycle": (learned("sft with the cycle", "texts_with_cycle"),),
        "sft, then dpo": (sft, dpo),
        "sft, then dpo swapped": (sft, preferred("dpo swapped", "pairs_swapped")),
    }
    asked = (rows("prompts"), "--config.task.test_only=true", f"--config.rollout.reward=rubric:stages@{judge}")
    return Study(
        "AI Development Support: expected stage of replies",
        cells("model", arms, (Stage("replies", "rl/grpo", asked),), SEEDS, *EVERYWHERE),
        measures=(
            Measure("E[stage]", "replies", "reward", chance=3.5, limits=(1, 6)),
            Measure("tokens of a reply", "replies", "tokens"),
            Measure("ended by itself", "replies", "finished"),
        ),
        contrasts=(
            ("sft", "base"),
            ("sft, then dpo", "sft"),
            ("sft, then dpo swapped", "sft"),
            ("sft with the cycle", "sft"),
        ),
    )
