"""TruthfulQA by lm-evaluation-harness on the questions of one of our evaluations: the same prompts, answer by answer.

    TEMPLATE=$(VENV/bin/python benchmarks/truthfulqa_peers.py --template)
    moral-jax eval --model=MODEL.gguf --config=configs/evals/truthfulqa.py --config.task.path=mc_task.json \\
        --config.model.product_dtype=float32 --config.prompt.template="$TEMPLATE" --workdir=ours
    VENV/bin/python benchmarks/truthfulqa_peers.py --run=ours --gguf=MODEL.gguf [--json=FILE]

VENV has lm-eval, torch, transformers and gguf. Prompts, scores and the formula of MC2 are the harness' own; the answers
come from our records.
"""

import argparse
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

TEMPLATE = Path("tasks/truthfulqa/truthfulqa_mc1.yaml")


def harness_template() -> str:
    """Returns `doc_to_text` of the harness' task."""
    import yaml

    found = importlib.util.find_spec("lm_eval")
    assert found is not None
    assert found.origin is not None
    return yaml.safe_load((Path(found.origin).parent / TEMPLATE).read_text())["doc_to_text"]


def our_template(theirs: str) -> str:
    """Returns the same prompt as a template of ours: our answer prefix is its last line."""
    shots = re.search(r"prompt_qa = '(.*?)'\s*%}", theirs, re.S)
    assert shots, "doc_to_text is another"
    return shots[1].strip() + "\n\nQ: {question}"


def likelihoods(model: Any, prompt: str, answers: list[str]) -> list[tuple[float, bool]]:
    """Returns what the harness finds of each answer: log-probability, and whether it is the greedy one."""
    from lm_eval.api.instance import Instance

    asked = [Instance("loglikelihood", {}, (prompt, f" {answer}"), i) for i, answer in enumerate(answers)]
    return model.loglikelihood(asked, disable_tqdm=True)


def main() -> None:
    """Compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--template", action="store_true", help="print the harness' prompt as a template of ours")
    parser.add_argument("--run", type=Path)
    parser.add_argument("--gguf", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.template:
        print(our_template(harness_template()))
        return
    import transformers
    from jinja2 import Environment
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks.truthfulqa.utils import process_results_mc2

    words = transformers.AutoTokenizer.from_pretrained(str(args.gguf.parent), gguf_file=args.gguf.name)
    peer = HFLM(
        str(args.gguf.parent), gguf_file=args.gguf.name, tokenizer=words, dtype="float32", device="cpu", batch_size=8
    )
    prompt = Environment(autoescape=False).from_string(harness_template())
    records = [json.loads(line) for line in (args.run / "answers" / "test.jsonl").read_text().splitlines()]
    rows = []
    for record in records:
        which, question = record["id"].split(" ", 1)
        found = likelihoods(peer, prompt.render(question=question), record["options"])
        logp, labels = np.array([value for value, _ in found]), np.array(record["counts"])
        ours, true = np.array(record["probabilities"]), labels > 0
        if which == "MC2":
            theirs = float(process_results_mc2({"mc2_targets": {"labels": labels}}, found)["acc"])
            rows.append({"set": which, "id": record["id"], "ours": float(ours[true].sum()), "harness": theirs})
        else:
            rows.append(
                {
                    "set": which,
                    "id": record["id"],
                    "ours": float(true[ours.argmax()]),
                    "harness": float(true[logp.argmax()]),
                }
            )
        shares = np.exp(logp - logp.max())
        rows[-1]["largest share apart"] = float(np.abs(shares / shares.sum() - ours).max())
    for which in ("MC1", "MC2"):
        of_set = [row for row in rows if row["set"] == which]
        ours, theirs = (np.array([row[name] for row in of_set]) for name in ("ours", "harness"))
        finite = np.isfinite(theirs)
        apart, in_shares = np.abs(ours - theirs)[finite].max(), max(row["largest share apart"] for row in of_set)
        print(
            f"{which}: {len(of_set)} questions, ours {ours.mean():.6f}, harness {theirs[finite].mean():.6f} "
            f"({(~finite).sum()} not finite); a question is apart by at most {apart:.2g}, a share by {in_shares:.2g}"
        )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
