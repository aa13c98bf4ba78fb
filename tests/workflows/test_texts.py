"""Runs on texts and preferences: from rows to a page, stopped and resumed, on single choices and on votes."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import moral_jax
from moral_jax.cli import main
from moral_jax.config.evaluate import EvalConfig
from moral_jax.config.model import AdapterConfig, ModelConfig
from moral_jax.config.task import TaskConfig
from moral_jax.config.train import DataConfig, ObjectiveConfig, OptimConfig, TrainConfig
from moral_jax.judges.base import Written, numbers_of
from moral_jax.judges.table import parse
from moral_jax.report import page
from moral_jax.runs.records import read_jsonl
from moral_jax.runs.text_records import read_text_jsonl
from moral_jax.tasks import synthetic
from moral_jax.types import Example, UserError
from moral_jax.workflows import evaluate, export, judging, references, train
from tests.helpers import tiny
from tests.helpers.stopped import train_until

pytestmark = pytest.mark.usefixtures("two_devices")
ACTIONS = [action for action, _ in synthetic.read_actions()]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("rows")


@pytest.fixture(scope="module")
def pairs(folder):
    """Of the two the one that begins with a letter of the first half is chosen."""
    rows = []
    for i, action in enumerate(ACTIONS[:24]):
        good, bad = f"{action}, of course", f"never {action}"
        rows.append({"prompt": f"Should one be {ACTIONS[i + 24]}?", "chosen": good, "rejected": bad})
    return write(folder / "pairs.jsonl", rows)


@pytest.fixture(scope="module")
def chats(folder):
    rows = [
        {
            "messages": [
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": f"I was {a}."},
                {"role": "user", "content": "And then?"},
                {"role": "assistant", "content": "I went home."},
            ],
            "topic": "home" if i % 2 else "away",
        }
        for i, a in enumerate(ACTIONS[:24])
    ]
    return write(folder / "chats.jsonl", rows)


def config_of(folder, path, objective, kind="preferences", **sections):
    task = TaskConfig(**{"name": kind, "path": path, "validation": 0.2, "test": 0.25} | sections.pop("task", {}))
    defaults = {
        "data": DataConfig(length=128, batch_size=2, micro_batch_size=1),
        "optim": OptimConfig(lr=3e-3),
        "train": TrainConfig(epochs=2, eval_every=3, checkpoint_every=2),
    }
    return tiny.run_config(folder, task=task, objective=objective, **(defaults | sections))


def trace(folder, kind="train"):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if k not in ("seconds", "idle")} for r in rows if r["kind"] == kind]


@pytest.fixture(scope="module")
def dpo(tiny_folder, pairs):
    return config_of(tiny_folder, pairs, ObjectiveConfig("dpo"))


@pytest.fixture(scope="module")
def finished(dpo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "dpo"
    train.train(dpo, folder)
    return folder


def test_preferences_are_learned(finished):
    first, *_, last = trace(finished)
    assert first["loss"] == pytest.approx(np.log(2), abs=1e-5)
    assert first["reference_gap"] < 1e-4
    assert first["margin"] == pytest.approx(0, abs=1e-5)
    assert last["loss"] < 0.6
    judged = trace(finished, "validation")
    assert judged[-1]["accuracy"] > 0.9
    assert {"chosen_logp", "rejected_logp", "margin"} <= judged[-1].keys()


def test_the_page_of_preferences(finished):
    numbers = json.loads((finished / "trained" / "metrics.json").read_text())
    assert numbers["kind"] == "texts"
    assert numbers["metrics"]["reward_accuracy"]["value"] > 0.9
    before, after = (read_text_jsonl(finished / stage / "test.jsonl") for stage in ("initial", "trained"))
    gained = [np.array(b["logp"]) - np.array(a["logp"]) for a, b in zip(before, after, strict=True)]
    margins = [0.1 * (g[0] - g[1]) for g in gained]
    assert numbers["metrics"]["reward_margin"]["value"] == pytest.approx(np.mean(margins), rel=1e-6)
    html = (finished / "report.html").read_text()
    assert "chosen has the higher reward" in html
    assert "most surprising rows" in html
    assert any(r["texts"][0] in html for r in before)


def test_a_validation_says_what_the_records_say(dpo, finished):
    """The numbers during training come from the objective itself, those of the page from records."""
    judged = trace(finished, "validation")
    numbers = json.loads((finished / "trained" / "metrics.json").read_text())
    validated = read_text_jsonl(finished / "trained" / "validation.jsonl")
    nll = -sum(r["logp"][0] for r in validated) / sum(r["tokens"][0] for r in validated)
    best = min(judged, key=lambda row: row["loss"])
    assert -best["chosen_logp"] == pytest.approx(nll, rel=1e-5)
    assert numbers["split"] == "test"


def test_a_stopped_run_goes_on_bit_for_bit(dpo, finished, tmp_path):
    train_until(dpo, tmp_path / "r", 3)
    train.train(dpo, tmp_path / "r")
    assert trace(tmp_path / "r") == trace(finished)
    for stage in ("initial", "trained"):
        assert (tmp_path / "r" / stage / "test.jsonl").read_text() == (finished / stage / "test.jsonl").read_text()


def filled(config, folder, seed=0, sha="a"):
    """Returns the references of a run's training rows by the text's hash, and how often rows were scored for them."""
    reordered = dataclasses.replace(config, train=dataclasses.replace(config.train, seed=seed))
    setup, scored = train.build.training_setup(reordered), []
    real = setup.scoring.score_questions
    setup.scoring.score_questions = lambda *args: scored.append(args) or real(*args)
    of_splits = {"train": train.ways.questions_of(setup)["train"]}
    references.fill(folder, setup.scoring, setup.initial, {"sha256": sha}, of_splits)
    questions = setup.batches.questions
    of_texts = zip(references._hashes(questions), questions.columns["reference"].tolist(), strict=True)
    return {h: x for of_entry, row in of_texts for h, x in zip(of_entry, row, strict=True)}, len(scored)


def test_references_are_computed_once_and_belong_to_their_weights(dpo, tmp_path):
    """Another order of the rows finds them again, other weights do not."""
    first, scored = filled(dpo, tmp_path)
    assert scored == 1
    assert min(first.values()) < max(first.values()) < 0
    assert filled(dpo, tmp_path, seed=1) == (first, 0)
    assert filled(dpo, tmp_path, sha="b")[1] == 1
    (tmp_path / "columns" / "reference.npz").write_bytes(b"half of a file")
    assert filled(dpo, tmp_path) == (first, 1)


@pytest.mark.parametrize(
    ("dtype", "gap", "passes"),
    [
        ("bfloat16", 0.67 / 100**0.5, True),  # what an H100 had on a text of about 100 tokens
        ("bfloat16", 5.0 / 100**0.5, False),  # weights that say 0.05 nats a token else
        ("float32", 1e-5, True),
        ("float32", 1e-3, False),
        ("float32", np.nan, False),
    ],
)
def test_rounding_is_no_wrong_reference(dtype, gap, passes, tmp_path):
    model = tiny.model(tiny.spec(), dtype=dtype, product_dtype=dtype)
    sums = {"reference_gap": (4 * gap**2, 4.0)}
    if passes:
        references.check_first_step(sums, model, tmp_path)
        return
    with pytest.raises(UserError, match="differs from its reference"):
        references.check_first_step(sums, model, tmp_path)


def test_a_column_of_other_weights_stops_the_run_at_its_first_step(dpo, finished, tmp_path, monkeypatch):
    stored = np.load(finished / "columns" / "reference.npz")
    wrong = dict(zip(stored["texts"].tolist(), (stored["logp"] + 1.0).tolist(), strict=True))
    monkeypatch.setattr(references, "_read", lambda file, key: wrong)
    with pytest.raises(UserError, match="step 1: log p of a text differs from its reference, by 0"):
        train.train(dpo, tmp_path / "again")


def test_a_second_stage_begins_with_the_weights_of_the_first(tiny_folder, chats, pairs, finished, tmp_path):
    """With adapters from the stage before: every pair's first loss is ln 2 there too."""
    lora = AdapterConfig(kind="lora", rank=2, alpha=8.0)
    first = config_of(tiny_folder, chats, ObjectiveConfig("sft"), "texts", adapter=lora, optim=OptimConfig(lr=3e-2),
                      eval=EvalConfig(initial=False, test=False, bootstrap=100, best_draws=10))  # fmt: skip
    train.train(first, tmp_path / "sft")
    export.write_adapter(tmp_path / "sft", tmp_path / "adapter", None)
    second = dataclasses.replace(lora, path=str(tmp_path / "adapter"))
    config = config_of(tiny_folder, pairs, ObjectiveConfig("dpo"), adapter=second, train=TrainConfig(steps=2))
    train.train(config, tmp_path / "dpo")
    step_1 = trace(tmp_path / "dpo")[0]
    assert step_1["loss"] == pytest.approx(np.log(2), abs=1e-5)
    of_both = [read_text_jsonl(run / "initial" / "test.jsonl")[0]["logp"] for run in (tmp_path / "dpo", finished)]
    assert abs(of_both[0][0] - of_both[1][0]) > 0.1, "or the adapters of the first stage do nothing"


def test_chats_are_learned(tiny_folder, chats, tmp_path, capsys):
    task = {"fields": dataclasses.replace(TaskConfig().fields, group="{topic}"), "test": 0.5}
    sections = {"train": TrainConfig(epochs=25, eval_every=50), "optim": OptimConfig(lr=1e-2)}
    config = config_of(tiny_folder, chats, ObjectiveConfig("sft"), "texts", task=task, **sections)
    written = train.train(config, tmp_path / "r")
    first, *_, last = trace(tmp_path / "r")
    assert last["loss"] < first["loss"] - 0.5
    numbers = {s: json.loads((tmp_path / "r" / s / "metrics.json").read_text()) for s in ("initial", "trained")}
    nll = {stage: of["metrics"]["nll_per_token"]["value"] for stage, of in numbers.items()}
    assert nll["trained"] < nll["initial"] - 0.5
    assert numbers["trained"]["metrics"]["perplexity"]["value"] == pytest.approx(np.exp(nll["trained"]), rel=1e-9)
    assert set(numbers["trained"]["groups"]["topic"]) <= {"home", "away"}
    assert "Training made the texts likelier" in written.verdict
    assert page.write(tmp_path / "r").table == written.table

    interview = moral_jax.load(f"run:{tmp_path / 'r'}")
    shares = interview.ask("Is it wrong?", ["yes", "no"])
    assert sum(shares.values()) == pytest.approx(1)
    assert main.main(["eval", f"--run={tmp_path / 'r'}", f"--path={chats}", f"--out={tmp_path / 'e'}"]) == 0
    records = read_text_jsonl(tmp_path / "e" / "answers" / "rows.jsonl")
    assert len(records) == 24
    tested = read_text_jsonl(tmp_path / "r" / "trained" / "test.jsonl")
    by_id = {r["id"]: r for r in records}
    for r in tested:
        assert by_id[r["id"]]["logp"] == pytest.approx(r["logp"], abs=1e-4)
    check_replies(f"--run={tmp_path / 'r'}", tmp_path, capsys)


def check_replies(run, folder, capsys):
    """What a trained run writes ends, and is as likely as `moral-jax score` says."""

    def said(*arguments):
        capsys.readouterr()
        assert main.main(list(arguments)) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    turns = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "I was at home."},
        {"role": "user", "content": "And then?"},
    ]
    prompts = write(folder / "prompts.jsonl", [{"messages": turns}])
    assert "I went home." in said("generate", run, prompts, "--temperature=0"), "every chat that it learned ends so"
    replies = [json.loads(line) for line in said("generate", run, prompts, "--n=16", "--json").splitlines()]
    ended = [r for r in replies if r["reason"] == "end" and r["text"] == r["text"].strip() != ""]
    texts = [{"messages": [*turns, {"role": "assistant", "content": r["text"]}]} for r in ended]
    scored = [json.loads(x) for x in said("score", run, write(folder / "s.jsonl", texts), "--json").splitlines()]
    same = [(x, r) for x, r in zip(scored, ended, strict=True) if x["tokens"] == len(r["tokens"])]
    assert len(same) >= 4, "of the others the text has another encoding than the one that was sampled"
    for text, reply in same:
        assert text["score"] == pytest.approx(sum(reply["logp"]), abs=1e-3)


def test_documents_longer_than_a_row_are_learned_in_pieces(tiny_folder, folder, tmp_path, capsys):
    text = " ".join(ACTIONS[:40])
    path = write(folder / "documents.jsonl", [{"text": f"{i} {text}"} for i in range(8)])
    data = DataConfig(length=64, batch_size=2, micro_batch_size=1)
    config = config_of(tiny_folder, path, ObjectiveConfig("sft"), "texts", data=data, train=TrainConfig(steps=2))
    train.train(config, tmp_path / "r")
    assert "8 prompts cut to fit" in capsys.readouterr().out
    [*_, record] = read_text_jsonl(tmp_path / "r" / "trained" / "test.jsonl")
    assert record["tokens"][0] > 3 * 64


def jensen_shannon(p, q):
    m = (p + q) / 2
    return sum(float(np.sum(x * np.log(x / m))) for x in (p, q)) / 2


@pytest.mark.parametrize(("majority", "recovers"), [(False, True), (True, False)])
def test_graded_votes_are_recovered(tiny_folder, folder, tmp_path, majority, recovers):
    """Votes 3:1 on pairs: the softmax of rewards goes to 0.75, and beyond if only the majority is trained on.

    Asked about the rows that are trained on: what a tiny model says of others is not the point.
    """
    rows = [
        {"prompt": f"Is {a} right?", "completions": ["yes", "no"] if i % 2 else ["no", "yes"], "counts": [3, 1]}
        for i, a in enumerate(ACTIONS[:12])
    ]
    path = write(folder / "votes.jsonl", rows)
    asked = write(folder / "asked.jsonl", [row | {"prompt": row["prompt"] + " "} for row in rows])
    config = config_of(
        tiny_folder,
        path,
        ObjectiveConfig("dpo", beta=0.5),
        task={"majority": majority, "validation_path": asked},
        optim=OptimConfig(lr=5e-3, weight_decay=0.0),
        train=TrainConfig(epochs=40, eval_every=1000, select="last"),
    )
    train.train(config, tmp_path / "r")
    before, after = (read_text_jsonl(tmp_path / "r" / s / "validation.jsonl") for s in ("initial", "trained"))
    distances = []
    for first, last in zip(before, after, strict=True):
        reward = 0.5 * (np.array(last["logp"]) - np.array(first["logp"]))
        p = np.exp(reward) / np.exp(reward).sum()
        distances.append(jensen_shannon(p, np.array([0.75, 0.25])))
    assert (np.mean(distances) <= 0.01) == recovers
    assert (np.mean(distances) >= 0.05) == (not recovers)


def test_a_reward_model_scores_texts(tiny_folder, pairs, tmp_path, capsys):
    config = config_of(
        tiny_folder,
        pairs,
        ObjectiveConfig("reward_model"),
        model=ModelConfig(path=str(tiny_folder), head="score", product_dtype="float32", unroll=1),
        train=TrainConfig(epochs=6),
    )
    train.train(config, tmp_path / "r")
    numbers = json.loads((tmp_path / "r" / "trained" / "metrics.json").read_text())
    assert numbers["metrics"]["accuracy"]["value"] > 0.9
    constant = numbers["yardsticks"]["best constant"]["cross_entropy"]
    assert constant == pytest.approx(np.log(2)), "what is chosen stands first in every row, and no constant may know it"
    rows = [json.loads(line) for line in Path(pairs).read_text().splitlines()]
    of_side = {}
    for side in ("chosen", "rejected"):
        texts = [{"prompt": row["prompt"], "completion": row[side]} for row in rows]
        path = write(tmp_path / f"{side}.jsonl", texts)
        capsys.readouterr()
        assert main.main(["score", f"--run={tmp_path / 'r'}", path, "--json"]) == 0
        of_side[side] = [json.loads(line)["score"] for line in capsys.readouterr().out.splitlines()]
    with pytest.raises(UserError, match="a reward model scores replies"):
        moral_jax.load(f"run:{tmp_path / 'r'}").ask("Is it wrong?", ["yes", "no"])
    for record in read_jsonl(tmp_path / "r" / "trained" / "test.jsonl"):
        row = int(record["id"].removeprefix("line ")) - 1
        chosen, _ = record["probabilities"]
        difference = of_side["chosen"][row] - of_side["rejected"][row]
        assert difference == pytest.approx(np.log(chosen / (1 - chosen)), abs=1e-3)
    # as a reward it reads the row, whatever was made of it for the model that wrote the reply
    judge = parse(f"run:{tmp_path / 'r'}", judging.behind())
    examples = [Example(f"{i}", "", ("",), (1.0,), text=row["prompt"]) for i, row in enumerate(rows[:3])]
    replies = [
        Written(e, f"<|user|>{e.text}", said, "end", 4)
        for e, row in zip(examples, rows, strict=False)
        for said in (row["chosen"], "", "much too long " * 200)
    ]
    found = numbers_of(judge, replies)
    assert found[::3] == pytest.approx(of_side["chosen"][:3], abs=1e-4)
    assert found[1::3] == found[2::3] == [None] * 3
    assert judge.identity


def test_a_run_on_questions_scores_no_texts(tiny_folder, chats, tmp_path, capsys):
    config = tiny.run_config(tiny_folder, train=TrainConfig(steps=0))
    train.train(config, tmp_path / "r")
    assert main.main(["score", f"--run={tmp_path / 'r'}", chats]) == 2
    assert "ask it with moral-jax ask" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "kind", "head", "message"),
    [
        ("soft_cross_entropy", "texts", "vocabulary", "expected 'sft' or 'dft'"),
        ("dpo", "texts", "vocabulary", "expected 'sft' or 'dft'"),
        ("sft", "preferences", "vocabulary", "expected 'dpo' or"),
        ("dpo", "preferences", "score", "'reward_model'"),
        ("dpo", "synthetic", "vocabulary", "expected 'soft_cross_entropy' or"),
    ],
)
def test_an_objective_of_another_task_is_refused(tiny_folder, pairs, name, kind, head, message):
    model = ModelConfig(path=str(tiny_folder), head=head)
    path = None if kind == "synthetic" else pairs
    with pytest.raises(UserError, match=message):
        train.build.training_setup(config_of(tiny_folder, path, ObjectiveConfig(name), kind, model=model))


def test_an_objective_on_pairs_refuses_a_third_completion(tiny_folder, tmp_path):
    rows = [{"prompt": f"{i}?", "completions": ["a", "b"], "counts": [1, 1]} for i in range(8)]
    rows[3] |= {"completions": ["a", "b", "c"], "counts": [1, 1, 1]}
    path = write(tmp_path / "rows.jsonl", rows)
    with pytest.raises(UserError, match="row 'line 4' has 3 completions, but config.objective.name='ipo' compares two"):
        train.build.training_setup(config_of(tiny_folder, path, ObjectiveConfig("ipo")))
    assert train.build.training_setup(config_of(tiny_folder, path, ObjectiveConfig("dpo"))).total > 0


def test_exo_needs_smoothing(tiny_folder, pairs):
    with pytest.raises(UserError, match=r"label_smoothing=0.0: expected more than 0, because .*'exo'"):
        train.build.training_setup(config_of(tiny_folder, pairs, ObjectiveConfig("exo")))


def test_only_a_model_can_weigh_texts(chats, tmp_path):
    from moral_jax.config import respondent

    config = config_of("none", chats, ObjectiveConfig("sft"), "texts")
    other = respondent.RespondentConfig(kind="scripted", name="uniform")
    with pytest.raises(UserError, match="cannot say how likely texts are"):
        evaluate.evaluate(dataclasses.replace(config, respondent=other), tmp_path / "e", evaluate.NO_BUDGET)
