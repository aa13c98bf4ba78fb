"""The whole way on a tiny model: score, train, score, report; resumed bit for bit; evaluated; asked."""

import dataclasses
import io
import json
import logging
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from moral_jax.cli import ask, main
from moral_jax.config import saved
from moral_jax.config.task import TaskConfig
from moral_jax.config.train import OptimConfig, TrainConfig
from moral_jax.models import api
from moral_jax.respondents import local
from moral_jax.respondents.base import Interview
from moral_jax.runs.directory import RunDirectory
from moral_jax.runs.records import read_jsonl
from moral_jax.tasks import synthetic
from moral_jax.train import loop
from moral_jax.train.checkpoint import Checkpoints
from moral_jax.types import UserError
from moral_jax.weights import load
from moral_jax.workflows import evaluate, summarise, train
from moral_jax.workflows.local_model import InitialParams, find_model, params_for_scoring
from tests.helpers import tiny
from tests.helpers.stopped import train_until

ROOT = Path(__file__).resolve().parents[2]
ROWS = 16  # of each split


pytestmark = pytest.mark.usefixtures("two_devices")


@pytest.fixture(scope="module")
def config(tiny_folder):
    return tiny.run_config(tiny_folder, task=TaskConfig(name="synthetic", limit=ROWS))


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train.train(config, folder)
    return folder


@pytest.fixture(scope="module")
def again(config, finished, tmp_path_factory):
    """The same run once more, and what JAX said of its compilations."""
    folder, said = tmp_path_factory.mktemp("runs") / "again", []
    listener = logging.Handler()
    listener.emit = lambda record: said.append(record.getMessage())
    logging.getLogger("jax").addHandler(listener)
    with jax.log_compiles():
        train.train(config, folder)
    logging.getLogger("jax").removeHandler(listener)
    return folder, said


def first_of(config):
    return InitialParams(config, find_model(config))


def weights(config, folder):
    with Checkpoints(folder / "checkpoints") as checkpoints:
        latest = checkpoints.latest()
        model = find_model(config).model
        return latest, checkpoints.restore_params(latest, api.abstract_params(model))


def trace(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("seconds", "idle")} for row in rows]


def test_a_run_leaves_all_its_files(finished, config):
    names = {p.name for p in finished.iterdir()}
    assert names == {
        "config.json", "provenance.json", "metrics.jsonl", "tensorboard", "checkpoints", "initial", "trained",
        "comparison.json", "report.html", "report.md", "lock", "run.json",
    }  # fmt: skip
    assert saved.read(finished / "config.json") == config
    for stage in ("initial", "trained"):
        assert len(read_jsonl(finished / stage / "test.jsonl")) == ROWS
        numbers = json.loads((finished / stage / "metrics.json").read_text())
        assert numbers["split"] == "test"
        assert set(numbers["yardsticks"]) == {"uniform", "train prior", "best constant", "BEST", "second panel"}
        assert numbers["metrics"]["calibrated_cross_entropy"]["value"] > 0
    provenance = json.loads((finished / "provenance.json").read_text())
    assert provenance["data"]["rows"] == dict.fromkeys(("train", "validation", "test"), ROWS)
    assert len(provenance["model"]["sha256"]["model.safetensors"]) == 64
    assert provenance["versions"]["jax"] == jax.__version__


def test_training_moves_the_model_and_its_concentration(finished):
    rows = [r for r in trace(finished) if r["kind"] == "train"]
    assert [r["step"] for r in rows] == list(range(1, len(rows) + 1))
    assert len({round(r["log_concentration"], 4) for r in rows}) > 3
    judged = [r for r in trace(finished) if r["kind"] == "validation"]
    assert judged
    assert all(r["loss"] == r["dirichlet_nll"] != r["cross_entropy"] for r in judged)  # what the objective trains
    before, after = (read_jsonl(finished / s / "test.jsonl") for s in ("initial", "trained"))
    assert all(r["concentration"] == pytest.approx(2.0) for r in before)
    assert len({round(r["concentration"], 5) for r in after}) > 5
    assert before[0]["probabilities"] != after[0]["probabilities"]


def test_records_average_the_orders(finished):
    for r in read_jsonl(finished / "trained" / "test.jsonl"):
        assert [o["order"] for o in r["orders"]] == [[0, 1], [1, 0]]
        np.testing.assert_allclose(r["probabilities"], np.mean([o["probabilities"] for o in r["orders"]], axis=0))
        assert sum(r["probabilities"]) == pytest.approx(1)
        assert 0 < r["option_mass"] < 1


def test_seeds_decide_everything(config, finished, again):
    folder, _ = again
    jax.tree.map(np.testing.assert_array_equal, weights(config, folder)[1], weights(config, finished)[1])
    assert trace(folder) == trace(finished)
    assert (folder / "trained" / "test.jsonl").read_bytes() == (finished / "trained" / "test.jsonl").read_bytes()


def compiled(messages, name):
    """How often a function was compiled or fetched compiled."""
    return sum(f"Finished XLA compilation of jit({name})" in m for m in messages)


def test_a_run_compiles_its_step_once_and_scoring_once(again):
    """Two splits before, validations between, two splits after."""
    _, said = again
    assert (compiled(said, "step"), compiled(said, "score")) == (1, 1)


def test_what_only_answers_is_loaded_as_scoring_reads_it(config, finished):
    """Kernels are rounded, one by one as they come; nothing else is."""
    rounding = dataclasses.replace(config, model=dataclasses.replace(config.model, product_dtype="bfloat16"))
    files = find_model(rounding)
    first = InitialParams(rounding, files).training()
    got = InitialParams(rounding, files).for_scoring()
    types = {(path.endswith("/kernel"), leaf.dtype.name) for path, leaf in load.flat(got["decoder"]).items()}
    assert types == {(True, "bfloat16"), (False, "float32")}
    jax.tree.map(np.testing.assert_array_equal, got, api.cast_for_scoring(first, files.model))
    assert {
        leaf.dtype.name
        for leaf in jax.tree.leaves(params_for_scoring(config, first_of(config), RunDirectory(finished))())
    } == {"float32"}


def test_questions_one_by_one_compile_a_few_lengths(config, caplog):
    long = dataclasses.replace(config, data=dataclasses.replace(config.data, length=1024))
    respondent, _ = evaluate.respondent_of(long, evaluate.NO_BUDGET)
    answer = Interview(respondent, lambda _: "rotations").records
    of = synthetic.examples()[0]
    with jax.log_compiles():
        for words in range(1, 150, 12):
            answer([of._replace(text="word " * words)])
    assert 2 <= compiled(caplog.messages, "score") <= 3, "rows of 128, 256 and 512 tokens for thirteen questions"


def test_a_run_stopped_again_and_again_goes_on_bit_for_bit(config, finished, tmp_path):
    """Stopped before the first checkpoint, between two, and right after a validation."""
    for stopped_at in (2, 4, 7):
        train_until(config, tmp_path / "r", stopped_at)
        assert not (tmp_path / "r" / "trained").exists()
    train.train(config, tmp_path / "r")
    jax.tree.map(np.testing.assert_array_equal, weights(config, tmp_path / "r")[1], weights(config, finished)[1])
    assert trace(tmp_path / "r") == trace(finished)
    assert (tmp_path / "r" / "trained" / "test.jsonl").read_bytes() == (
        finished / "trained" / "test.jsonl"
    ).read_bytes()


def test_a_finished_run_only_writes_its_page_again(config, finished, monkeypatch):
    def never(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr(loop, "make_train_step", never)
    monkeypatch.setattr(load, "load", never)
    monkeypatch.setattr(local, "score_questions", never)
    assert train.train(config, finished).html.exists()


def test_another_config_in_the_same_directory_is_refused_with_the_difference(config, finished):
    other = dataclasses.replace(config, optim=OptimConfig(lr=1.0))
    with pytest.raises(UserError, match=r"(?s)another config.*--workdir.*optim.lr: 0.003 -> 1.0"):
        train.train(other, finished)


def test_a_search_sees_no_test_row(config, tmp_path):
    """Nor the model before training, which another run of the search has scored."""
    quiet = dataclasses.replace(config.eval, initial=False, test=False)
    train.train(dataclasses.replace(config, eval=quiet, train=TrainConfig(steps=2)), tmp_path / "r")
    assert not (tmp_path / "r" / "initial").exists()
    assert {p.name for p in (tmp_path / "r" / "trained").iterdir()} == {"metrics.json", "validation.jsonl"}
    assert json.loads((tmp_path / "r" / "trained" / "metrics.json").read_text())["split"] == "validation"
    assert (tmp_path / "r" / "report.html").exists()


def test_a_directory_that_is_no_run_is_left_alone(config, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="holds no run"):
        train.train(config, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_zero_steps_only_evaluate(config, tmp_path):
    written = train.train(dataclasses.replace(config, train=TrainConfig(steps=0)), tmp_path / "r")
    assert {p.name for p in (tmp_path / "r").iterdir()} >= {"initial", "report.html"}
    assert not (tmp_path / "r" / "trained").exists()
    assert not (tmp_path / "r" / "checkpoints").exists()
    assert f"On {ROWS} held-out questions" in written.verdict


def test_more_steps_than_there_are_is_an_error(config, tmp_path):
    with pytest.raises(UserError, match="config.train.steps=9999, but 1 epochs have"):
        train.train(dataclasses.replace(config, train=TrainConfig(epochs=1, steps=9999)), tmp_path / "r")


def test_scores_do_not_depend_on_batch_size_row_length_or_packing(config, finished, tmp_path):
    want = read_jsonl(finished / "initial" / "test.jsonl")
    for name, data, batch in (
        ("alone", {"length": 120, "questions_per_row": 1}, 3),
        ("long", {"length": 700, "questions_per_row": 64}, 1),
    ):
        changed = dataclasses.replace(
            config,
            data=dataclasses.replace(config.data, **data),
            eval=dataclasses.replace(config.eval, batch_size=batch),
            train=TrainConfig(steps=0),
        )
        train.train(changed, tmp_path / name)
        got = read_jsonl(tmp_path / name / "initial" / "test.jsonl")
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a["probabilities"], b["probabilities"], atol=1e-5)
            assert a["option_mass"] == pytest.approx(b["option_mass"], rel=1e-4)


@pytest.fixture(scope="module")
def rows_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    actions = [
        {"id": f"a{i}", "description": d} for i, d in enumerate(("taking the last biscuit", "robbing a bank", "lying"))
    ]
    rows = [
        {"id": f"r{i}", "actions": [actions[i % 3], actions[(i + 1) % 3]], "gold_annotations": [i % 6, 5 - i % 6],
         "human_perf_annotations": [2, 3]}
        for i in range(12)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def test_eval_scores_a_file_with_a_finished_run(finished, rows_file, tmp_path, capsys):
    out = tmp_path / "scores"
    assert main.main(["eval", f"--run={finished}", f"--path={rows_file}", f"--out={out}"]) == 0
    assert "BEST" in capsys.readouterr().out
    assert {p.name for p in out.iterdir()} == {
        "answers", "run.json", "lock", "config.json", "provenance.json", "report.html", "report.md",
    }  # fmt: skip
    assert {p.name for p in (out / "answers").iterdir()} == {"rows.jsonl", "metrics.json"}
    numbers = json.loads((out / "answers" / "metrics.json").read_text())
    assert numbers["rows"] == 12
    validation = read_jsonl(finished / "trained" / "validation.jsonl")
    assert numbers["calibration"] == summarise.calibration_of(validation)._asdict()
    other = tmp_path / "other.jsonl"
    other.write_text(rows_file.read_text())
    assert main.main(["eval", f"--run={finished}", f"--path={other}", f"--out={out}"]) == 2
    assert "no longer what" in capsys.readouterr().err


def test_eval_of_an_untrained_model(tiny_folder, rows_file, tmp_path, capsys):
    out = tmp_path / "scores"
    arguments = [
        "eval",
        f"--model={tiny_folder}",
        f"--path={rows_file}",
        f"--out={out}",
        "--config.prompt.format=plain",
    ]
    assert main.main(arguments) == 0
    assert json.loads((out / "config.json").read_text())["prompt"]["format"] == "plain"
    assert json.loads((out / "answers" / "metrics.json").read_text())["calibration"] is None
    capsys.readouterr()


def test_score_answers_a_person(finished, tmp_path, capsys):
    (tmp_path / "q.txt").write_text(
        'Which is worse? | lying | stealing\n\n{"question": "Who?", "options": ["me", "you", "we"]}\n'
    )
    assert main.main(["ask", f"--run={finished}", str(tmp_path / "q.txt")]) == 0
    shown = capsys.readouterr().out
    assert "Which is worse?\n  lying" in shown
    assert shown.count("%") == 2 + 1 + 3 + 1
    assert main.main(["ask", f"--run={finished}", "--json", str(tmp_path / "q.txt")]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]  # nothing else stands there
    assert [len(a["probabilities"]) for a in answers] == [2, 3]
    assert all(sum(a["probabilities"]) == pytest.approx(1) for a in answers)


def test_score_gives_what_eval_gives(finished, rows_file, tmp_path, capsys):
    main.main(["eval", f"--run={finished}", f"--path={rows_file}", f"--out={tmp_path / 'e'}"])
    record = read_jsonl(tmp_path / "e" / "answers" / "rows.jsonl")[0]
    (tmp_path / "q.txt").write_text(" | ".join([record["question"], *record["options"]]))
    capsys.readouterr()
    main.main(["ask", f"--run={finished}", "--json", str(tmp_path / "q.txt")])
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    np.testing.assert_allclose(answer["probabilities"], record["probabilities"], atol=1e-6)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Only a question?", "in:1: expected 'question | option | option'"),
        ("Q? | one", "expected 'question | option | option'"),
        ("{bad", "in:1: not valid JSON"),
        ('{"question": "Q?"}', "field 'options': found None"),
        ('{"options": ["a", "b"]}', "something to judge"),
    ],
)
def test_questions_that_cannot_be_asked(line, message):
    with pytest.raises(UserError, match=message.replace("|", r"\|")):
        list(ask.read(io.BytesIO(line.encode()), "in"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ask", "--run=nowhere"], "holds no run"),
        (["ask", "--model=./nowhere"], "no such file or folder"),
        (["ask", "nowhere.txt", "--model=x"], "nowhere.txt: cannot be read"),
        (["report", "nowhere"], "holds no numbers yet"),
        (["eval", "--run=x", "--config=y", "--path=p", "--out=o"], "a run brings its own config"),
    ],
)
def test_a_users_mistake_is_one_message_and_exit_code_2(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Which? | a | b")))
    assert main.main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert message in err
    assert "Traceback" not in err


def test_train_py_as_a_person_types_it(tmp_path):
    """A mistyped field: exit code 2, the nearest real one, no traceback, and nothing left behind."""
    command = [
        sys.executable,
        "train.py",
        "--config=configs/demo.py",
        "--config.optim.lrr=1",
        f"--workdir={tmp_path / 'r'}",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: --config.optim.lrr: no such field; did you mean --config.optim.lr?\n"
    assert not (tmp_path / "r").exists()
