"""The study of arXiv 2410.07826: three models, three tasks, before and after tuning with each objective, three seeds;
beside them the encoders of arXiv 2008.09094, tuned.

Presets of the three models: v5e-16, v5p-8, v6e-8, gpu-80gb-8; gpu-80gb and gpu-24gb train adapters.
Data: the released splits.
"""

from moral_jax.study.spec import Study, both_objectives, zero_shot

MODELS = {
    "Mistral-7B-Instruct-v0.3": "mistral_7b",
    "Zephyr-7b-beta": "zephyr_7b",
    "Llama-3.1-8B": "llama_3_1_8b",
}
ENCODERS = {"BERT-large": "bert_large", "RoBERTa-large": "roberta_large"}  # untuned they say nothing
TASKS = {  # config file, and what differs
    "dilemmas": ("dilemmas",),
    "anecdotes, right or wrong": ("anecdotes", "--config.task.name=anecdotes_binary"),
    "anecdotes, five answers": ("anecdotes",),
}
SEEDS = (0, 1, 2)


def get_study(preset="v5e-16"):
    cells = []
    for task, (file, *differs) in TASKS.items():
        for row, model in MODELS.items():
            config = f"configs/scruples/{model}_{file}.py:{preset}"
            cells.append(zero_shot(row, task, config, *differs))
            cells += both_objectives(row, task, config, *differs, seeds=SEEDS)
        for row, model in ENCODERS.items():
            cells += both_objectives(row, task, f"configs/scruples/{model}_{file}.py", *differs, seeds=SEEDS)
    return Study("Ethical ambiguity: votes on Scruples and what language models make of them", tuple(cells))
