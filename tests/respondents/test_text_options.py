"""Options that are read as whole texts: summed, per token, less their worth after a bare prompt; and TruthfulQA."""

import json

import numpy as np
import pytest

from moral_jax.cli import main
from moral_jax.config.model import ModelConfig
from moral_jax.config.task import PromptConfig
from moral_jax.config.train import ObjectiveConfig, OptimConfig, TrainConfig
from moral_jax.data.tokens import Text
from moral_jax.respondents.base import asks_of
from moral_jax.respondents.local import LocalRespondent, Scoring
from moral_jax.runs.records import make_records, read_jsonl
from moral_jax.types import Example, UserError
from moral_jax.workflows import train
from moral_jax.workflows.local_model import InitialParams, find_model
from tests.helpers import texts, tiny

pytestmark = pytest.mark.usefixtures("two_devices")
ASKED = [
    Example("1", "Was it wrong?", ("yes, very wrong", "no", "a little"), (1.0, 0.0, 0.0), text="leaving early"),
    Example("2", "Who did it?", ("the author", "nobody at all"), (1.0, 0.0)),
]


def config_of(folder, how="sum", **sections):
    model = ModelConfig(path=str(folder), head="text", text_score=how, product_dtype="float32", unroll=1)
    prompt = PromptConfig(template="Q: {question} {text}", answer_prefix="A:")
    objective = ObjectiveConfig("soft_cross_entropy")
    train = TrainConfig(steps=0)
    return tiny.run_config(
        folder, **{"model": model, "prompt": prompt, "objective": objective, "train": train} | sections
    )


def probabilities(config):
    files = find_model(config)
    respondent = LocalRespondent(Scoring(config, files), InitialParams(config, files).for_scoring, dict)
    asks = asks_of(respondent, ASKED, config.orders_of)
    assert len(asks.items) == len(ASKED), "no option has a place, so there is one order"
    respondent.prepare({"rows": asks})
    return [np.array(r["probabilities"]) for r in make_records(asks, respondent.choose(asks, "rows"))]


def by_hand(config, example, prompt):
    """Returns log-probability and tokens of each option after a prompt, each text by itself."""
    files = find_model(config)
    params, words = InitialParams(config, files).training(), files.tokenizer
    begins = words(prompt, add_special_tokens=True)["input_ids"]
    out = []
    for option in example.options:
        ids = np.array(words(f"{prompt} {option}", add_special_tokens=True)["input_ids"], np.int32)
        assert ids[: len(begins)].tolist() == begins
        text = Text(ids, np.zeros_like(ids), np.arange(len(ids)) >= len(begins))
        out.append((texts.likelihood(params, files.model, text), text.reads_T.sum()))
    return np.array(out).T


def softmax(x):
    return np.exp(x - x.max()) / np.exp(x - x.max()).sum()


@pytest.mark.parametrize("how", ["sum", "per_token", "prior"])
def test_shares_are_those_of_the_texts(tiny_folder, how):
    config = config_of(tiny_folder, how)
    for got, example in zip(probabilities(config), ASKED, strict=True):
        logp, tokens = by_hand(config, example, f"Q: {example.question} {example.text}".strip() + "\nA:")
        scores = {
            "sum": logp,
            "per_token": logp / tokens,
            "prior": logp - by_hand(config, example, "A:")[0],
        }
        np.testing.assert_allclose(got, softmax(scores[how]), atol=2e-5)
    sums = [softmax(by_hand(config, e, f"Q: {e.question} {e.text}".strip() + "\nA:")[0]) for e in ASKED]
    if how != "sum":
        assert max(np.abs(a - b).max() for a, b in zip(sums, probabilities(config), strict=True)) > 0.01


def test_votes_are_learned_on_whole_texts(tiny_folder, tmp_path):
    config = config_of(tiny_folder, optim=OptimConfig(lr=3e-3), train=TrainConfig(epochs=3))
    train.train(config, tmp_path / "r")
    lines = [json.loads(line) for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    assert losses[-1] < losses[0]
    assert all(r["option_mass"] is None for r in read_jsonl(tmp_path / "r" / "trained" / "test.jsonl"))


def test_the_prior_is_read_only_where_options_are_texts(tiny_folder):
    with pytest.raises(UserError, match=r"config.model.text_score='prior': expected 'sum'"):
        tiny.run_config(tiny_folder, model=ModelConfig(path=str(tiny_folder), text_score="prior"))


def test_a_prior_is_that_of_weights_that_stay(tiny_folder):
    with pytest.raises(UserError, match=r"'prior': expected 'sum' or 'per_token' where anything is trained"):
        config_of(tiny_folder, "prior", train=TrainConfig(epochs=1))


def test_truthfulqa(tiny_folder, tmp_path, capsys):
    rows = [
        {
            "question": f"Question {i}?",
            "mc1_targets": {"yes": 1, "no": 0, "maybe": 0},
            "mc2_targets": {"yes": 1, "of course": 1, "no": 0},
        }
        for i in range(6)
    ]
    (tmp_path / "mc.json").write_text(json.dumps(rows))
    table = "Category,Question\n" + "".join(f"{'Law' if i < 5 else 'Food'},Question {i}?\n" for i in range(6))
    (tmp_path / "categories.csv").write_text(table)
    flags = [f"--config.task.path={tmp_path / 'mc.json'}", f"--config.task.items_path={tmp_path / 'categories.csv'}"]
    out = tmp_path / "out"
    code = main.main(
        ["eval", f"--model={tiny_folder}", "--config=evals/truthfulqa", f"--out={out}", *flags,
         "--config.eval.bootstrap=100", "--config.model.product_dtype=float32"]
    )  # fmt: skip
    assert code == 0
    assert "chance" in capsys.readouterr().out
    numbers = json.loads((out / "answers" / "metrics.json").read_text())["multiple_choice"]
    assert numbers["MC1"]["chance"] == pytest.approx(1 / 3)
    assert numbers["MC2"]["chance"] == pytest.approx(2 / 3)
    assert numbers["MC1"]["by_category"]["Law"]["rows"] == 5
    assert 0 < numbers["MC2"]["all"]["value"] < 1
    html = (out / "report.html").read_text()
    assert "True answers" in html
