"""TruthfulQA, multiple choice: MC1 and MC2 by the probability of whole answers.

    moral-jax eval --model=PATH --config=configs/evals/truthfulqa.py --config.task.path=mc_task.json \\
        --config.task.items_path=TruthfulQA.csv

The second file has the categories, and may be left out.
"""

from moral_jax import config


def get_config():
    c = config.default()
    c.task.name, c.task.test_only = "truthfulqa", True
    c.model.head = "text"
    c.prompt.template, c.prompt.answer_prefix = "Q: {question}", "A:"
    c.data.length, c.eval.batch_size = 1024, 2
    c.train.steps = 0
    return c
