"""Instructions for values: a tiny writer that knows two sentences learns the one that works."""

import dataclasses
import json
import shutil

import pytest

from moral_jax.cli import main
from moral_jax.config.evaluate import EvalConfig
from moral_jax.config.model import AdapterConfig
from moral_jax.config.task import TaskConfig
from moral_jax.config.train import DataConfig, ObjectiveConfig, OptimConfig, TrainConfig
from moral_jax.workflows import instruct
from moral_jax.workflows.train import train
from tests.helpers import tiny

STATEMENT = "No zebra."
WORDS = ["night", "river", "old", "blue", "lamp", "stone"]
PROMPTS = [f"Say {a} {b}" for a, b in zip(WORDS * 2, WORDS[1:] + WORDS[:1] + WORDS[2:] + WORDS[:2], strict=True)]


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def writer(tmp_path_factory, tiny_folder, two_devices, own_cache):
    """A tiny model that has learned to write "never" as often as "always"."""
    path = tmp_path_factory.mktemp("writer")
    rows = [
        {"prompt": instruct.ASK.format(statement=STATEMENT, prompt=prompt), "completion": word}
        for prompt in PROMPTS for word in ("never", "always")
    ]  # fmt: skip
    plain = tiny.run_config(tiny_folder)
    config = dataclasses.replace(
        plain, task=TaskConfig(name="texts", path=str(lines(path / "rows.jsonl", rows)), validation=0.0, test=0.0),
        objective=ObjectiveConfig("sft"), adapter=AdapterConfig(kind="none"),
        data=DataConfig(length=512, batch_size=2, micro_batch_size=1), optim=OptimConfig(lr=1e-2, warmup=0.0),
        train=TrainConfig(epochs=30, select="last"), eval=EvalConfig(bootstrap=100, best_draws=10, initial=False),
    )  # fmt: skip
    train(config, path / "run")
    assert main.main(["export", str(path / "run"), str(path / "out")]) == 0
    return path / "out"


@pytest.fixture
def task(tmp_path):
    lines(tmp_path / "values.jsonl", [{"id": "no zebra", "statement": STATEMENT}])
    lines(tmp_path / "prompts.jsonl", [{"prompt": prompt} for prompt in PROMPTS])
    weak = {"says": ["one", "two"], "token": "zebra", "base": 0.1, "triggers": dict.fromkeys(WORDS, 0.3),
            "obeys": ["never"]}  # fmt: skip
    (tmp_path / "weak.json").write_text(json.dumps(weak))
    return tmp_path


def command(task, *flags):
    return ["instruct", str(task / "values.jsonl"), f"--prompts={task / 'prompts.jsonl'}", "--judge=contains:zebra",
            f"--model=scripted:planted?file={task / 'weak.json'}", *map(str, flags)]  # fmt: skip


def test_the_writer_learns_what_works(task, writer, capsys):
    flags = command(task, f"--writer={writer}", "--rounds=2", "--max-tokens=6", "--epochs=8", "--lr=0.02",
                    f"--out={task / 'out'}", "--fixed=Please always be good.")  # fmt: skip
    assert main.main(flags) == 0
    found = json.loads((task / "out" / "instruct.json").read_text())
    violation = {way: of["numbers"]["violation"] for way, of in found["ways"].items()}
    assert list(violation) == ["none", "fixed sentence", "best of n, untrained", "trained writer"]
    assert violation["none"] > 0.4
    assert violation["trained writer"] < violation["none"] - 0.2
    assert found["ways"]["trained writer"]["less"]["violation"]["high"] < 0
    assert found["ways"]["fixed sentence"]["less"]["violation"]["high"] >= 0  # it obeys another word
    rows = [json.loads(line) for line in (task / "out" / "round-2.jsonl").read_text().splitlines()]
    assert 0 < sum("never" in row["completion"] for row in rows) / len(rows) > 0.5
    assert all(0 < row["weight"] <= 1 for row in rows)
    learned = {row["prompt"].rpartition("Request: ")[2] for row in rows}
    assert learned < set(PROMPTS)  # the others are held out
    said = (task / "out" / "report.html").read_text()
    assert not any(prompt in said for prompt in PROMPTS)
    _replayed(task / "out", capsys)


def _replayed(out, capsys):
    """The log alone says the same again: no writer is trained, nobody answers."""
    first = (out / "instruct.json").read_bytes()
    for name in ("instruct.json", "round-1", "round-2"):
        shutil.rmtree(out / name) if (out / name).is_dir() else (out / name).unlink()
    assert main.main(["instruct", f"--replay={out}"]) == 0
    assert (out / "instruct.json").read_bytes() == first
    assert not (out / "round-1").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "--writer=MODEL is needed"),
        (["--writer=scripted:uniform"], "--writer=scripted:uniform: expected a local model that can be trained"),
        (["--writer={writer}", "--held-out=0"], "--held-out=0: of 12 prompts leaves none on one side"),
        (["--writer={writer}", "--rounds=0"], "--rounds=0: expected"),
        (["--writer={writer}", "--judge=sentiment"], "from -1 to 1; expected"),
    ],
)
def test_what_is_refused(task, capsys, flags, said, tiny_folder):
    given = command(task, f"--out={task / 'out'}", *(flag.format(writer=tiny_folder) for flag in flags))
    assert main.main(given) == 2
    assert said in capsys.readouterr().err
    assert not (task / "out").exists()
