"""Why first, on Llama-2-7B or Phi-2: documents that give reasons, before or after HH-RLHF.

    moral-jax study --config=studies/why_first_hh:llama-2,v5e-16,dpo
    moral-jax study --config=studies/why_first_hh:phi-2,gpu-80gb,grpo

The words after the colon, in any order, name the model (llama-2, phi-2), the machine (v5e-16, gpu-80gb) and the
alignment stage (sft, dpo, grpo, ppo). The folder rows/ holds your own documents.jsonl, shuffled.jsonl and
no_reason.jsonl (controls of as many tokens), conflict.jsonl (prompt, chosen, rejected) and asked.jsonl (prompt; group:
harmful or harmless). GRPO and PPO are rewarded by the reward model of runs/reward:

    moral-jax train --config=preferences/reward --config.task.path=Anthropic/hh-rlhf --workdir=runs/reward
"""

from moral_jax.study.spec import Measure, Study
from moral_jax.study.stages import Stage, cells

MODELS = {"llama-2": ("Llama-2-7B", "meta-llama/Llama-2-7b-chat-hf"), "phi-2": ("Phi-2", "microsoft/phi-2")}
MACHINES = ("v5e-16", "gpu-80gb")
HH, SEEDS = "--config.task.path=Anthropic/hh-rlhf", (0, 1, 2)
FITTING = ("--config.task.on_bad_row=drop", "--config.task.validation=0.01", "--config.task.test=0.02")
ALIGNMENT = {
    "sft": ("text/sft", ("--config.task.fields.text={chosen}", "--config.optim.lr=1e-5")),
    "dpo": ("preferences/dpo", ("--config.optim.lr=5e-7",)),
    "grpo": ("rl/grpo", ("--config.rollout.reward=run:runs/reward", "--config.train.steps=500")),
    "ppo": ("rl/ppo", ("--config.rollout.reward=run:runs/reward", "--config.train.steps=1000")),
}
TEST = ("--config.task.test_only=true",)
MEASURES = (
    Measure("conflict preference", "conflict", "likelihood_accuracy", chance=0.5),
    Measure("task score", "task", "likelihood_accuracy", chance=0.5),
    Measure("refusal", "replies", "reward", "harmful", limits=(0, 1)),
    Measure("over-refusal", "replies", "reward", "harmless", limits=(0, 1)),
)


def chosen(setting):
    """Returns model, machine and alignment."""
    words = set(setting.split(","))
    kinds = (MODELS, MACHINES, ALIGNMENT)
    found = [next((word for word in kind if word in words), next(iter(kind))) for kind in kinds]
    if unknown := words - {word for kind in kinds for word in kind}:
        raise ValueError(f"{sorted(unknown)[0]!r}: expected {', '.join(word for kind in kinds for word in kind)}")
    return found


def get_study(setting="llama-2,v5e-16,dpo"):
    model, machine, alignment = chosen(setting)
    row, path = MODELS[model]

    def documents(name, file):
        flags = (f"--config.task.path=rows/{file}.jsonl", "--config.task.validation=0", "--config.task.test=0.02")
        return Stage(name, f"text/sft:{machine}", (*flags, "--config.optim.lr=1e-5"))

    config, flags = ALIGNMENT[alignment]
    align = Stage("align", f"{config}:{machine}", (HH, *FITTING, *flags))
    explain = documents("explain", "documents")
    arms = {
        "base": (),
        "align only": (align,),
        "explain only": (explain,),
        "explain, then align": (explain, align),
        "align, then explain": (align, explain),
        "shuffled, then align": (documents("shuffled", "shuffled"), align),
        "documents without a reason, then align": (documents("no reason", "no_reason"), align),
    }
    greedy = ("--config.rollout.reward=refusal", "--config.rollout.sample.n=1", "--config.rollout.sample.temperature=0")
    measured = (
        Stage("conflict", f"preferences/dpo:{machine}", ("--config.task.path=rows/conflict.jsonl", *TEST)),
        Stage("task", f"preferences/dpo:{machine}", (f"{HH}:test", "--config.task.on_bad_row=drop", *TEST)),
        Stage(
            "replies",
            f"rl/grpo:{machine}",
            ("--config.task.path=rows/asked.jsonl", "--config.task.fields.group={group}", *TEST, *greedy),
        ),
    )
    first = "explain, then align"
    others = ("align only", "align, then explain", "shuffled, then align", "documents without a reason, then align")
    return Study(
        f"Why first on HH-RLHF: {row} ({alignment}, {machine})",
        cells(row, arms, measured, SEEDS, f"--config.model.path={path}"),
        measures=MEASURES,
        contrasts=tuple((first, other) for other in others),
    )
