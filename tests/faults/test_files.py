"""Tests files that are damaged, cut or exchanged between two starts of a run, and those of an interrupted export."""

import dataclasses
import hashlib
import json
import os
import random
import re
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moral_jax.cli import main
from moral_jax.config.task import TaskConfig
from moral_jax.config.train import TrainConfig
from moral_jax.respondents import local
from moral_jax.runtime import supervisor
from moral_jax.train import manifest
from moral_jax.train.checkpoint import Checkpoints
from moral_jax.train.manifest import Progress
from moral_jax.types import StorageError, TrainState, UserError
from moral_jax.weights import export
from moral_jax.workflows import train
from tests.helpers import tiny


def state(seed):
    rng = np.random.default_rng(seed)
    params = {
        "w": {"kernel": jnp.asarray(rng.normal(size=(32, 24)), jnp.float32)},
        "b": jnp.asarray(rng.normal(size=8)),
    }
    return TrainState(jnp.int32(seed), params, (jnp.int32(3), jax.tree.map(lambda x: x * x, params)))


def damaged(data, how, rng):
    """Returns the contents of a file, cut or with a bit flipped."""
    if how == "cut":
        return data[: len(data) // 2]
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


@pytest.mark.fault(
    "every file of a checkpoint in turn cut in half, or a bit of it flipped (8 places each)",
    promise="exit code 74 naming the leaf or the file, and the flag that uses an older step; never a wrong number",
)
def test_damaged_checkpoint(tmp_path):
    """A bit flipped in Orbax's own notes (times, chunk sizes) must not change what is read."""
    folder, rng = tmp_path / "c", random.Random(0)
    with Checkpoints(folder, {}, every=1) as c:
        for step in (1, 2):
            c.save(state(step), Progress(step=step, validated=step))
        c.wait()
    want = state(2)
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), want)
    files = [folder / "2.json", *(path for path in sorted((folder / "2").rglob("*")) if path.is_file())]
    said = {}
    for path in files:
        data = path.read_bytes()
        for n, how in enumerate(["cut"] + ["flip"] * 8):
            if not data:
                continue
            path.write_bytes(damaged(data, how, rng))
            with Checkpoints(folder) as c:
                try:
                    got, progress = c.restore(2, like)
                except StorageError as e:
                    said[path, n] = str(e)
                else:
                    assert progress == Progress(step=2, validated=2), path
                    jax.tree.map(np.testing.assert_array_equal, got, want)
            path.write_bytes(data)
    for message in said.values():
        assert re.match(rf"{folder}/2(\.json)?: is damaged \(.*--resume-from=1 goes on from there", message), message
    noticed = {path for path, _ in said}
    assert {folder / "2.json"} < noticed
    arrays = [text for (path, _), text in said.items() if path.parent.name == "d"]
    assert arrays
    assert all(re.search(r"\((params|opt_state)/", text) for text in arrays), arrays
    with Checkpoints(folder) as c:
        jax.tree.map(np.testing.assert_array_equal, c.restore(2, like)[0], want)


@pytest.fixture(scope="module")
def config(tiny_folder, two_devices):
    return tiny.run_config(tiny_folder, train=TrainConfig(epochs=1, steps=2, checkpoint_every=1))


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "r"
    train.train(config, folder)
    return folder


def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "r")


@pytest.mark.fault(
    "a file of records cut, in the middle of a line and between two",
    promise="not taken as done: the split is scored again, with the same numbers",
)
def test_half_written_records(config, finished, tmp_path, monkeypatch):
    folder, scored, real = copied(finished, tmp_path), [], local.score_questions
    file = folder / "initial" / "test.jsonl"
    data = file.read_bytes()

    def score(*arguments):
        scored.append(arguments[-1])
        return real(*arguments)

    monkeypatch.setattr(local, "score_questions", score)
    for cut in (data[: len(data) // 2], data[: data.index(b"\n") + 1]):
        file.write_bytes(cut)
        train.train(config, folder)
        assert file.read_bytes() == data
    assert scored == ["test initial"] * 2


@pytest.mark.fault(
    "the best step damaged after training",
    promise="named; --resume-from=STEP goes on from an older one, to the same numbers",
)
def test_resume_from_an_older_step(config, finished, tmp_path):
    folder = copied(finished, tmp_path)
    assert manifest.read(folder / "checkpoints", 2).progress.best_step == 2
    shutil.copy(folder / "initial" / "test.jsonl", folder / "trained")  # stale records, which must be replaced
    files = {step: next((folder / "checkpoints" / step).rglob("d/*")) for step in "12"}
    data = files["1"].read_bytes()
    for path in files.values():
        path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(StorageError, match=r"checkpoints/2: is damaged .*--resume-from=1 goes on"):
        train.train(config, folder)
    with pytest.raises(StorageError, match=r"checkpoints/1: is damaged .*--resume-from=2 goes on"):
        train.train(config, folder, resume_from=1)
    assert manifest.steps(folder / "checkpoints") == [1, 2], "what is newer goes when what is older was found whole"
    files["1"].write_bytes(data)
    train.train(config, folder, resume_from=1)
    assert (folder / "trained" / "test.jsonl").read_bytes() == (finished / "trained" / "test.jsonl").read_bytes()
    assert manifest.read(folder / "checkpoints", 2) == manifest.read(finished / "checkpoints", 2)


@pytest.mark.fault(
    "the best step lost, no older one left",
    promise="named; --resume-from=LAST goes on without it, and the run stands for the last step, which is said",
)
def test_the_best_step_is_lost(config, finished, tmp_path, capsys):
    folder = copied(finished, tmp_path)
    last = manifest.read(folder / "checkpoints", 2)
    best_before = dataclasses.replace(last.progress, best_step=1, best_loss=0.1)
    manifest.write(folder / "checkpoints", dataclasses.replace(last, progress=best_before))
    shutil.rmtree(folder / "checkpoints" / "1")
    (folder / "checkpoints" / "1.json").unlink()
    shutil.rmtree(folder / "trained")
    with pytest.raises(StorageError, match=r"1.json: is damaged .*--resume-from=2 goes on without it, or remove"):
        train.train(config, folder)
    capsys.readouterr()
    train.train(config, folder, resume_from=2)
    assert "the best step, 1, is lost; until another is found, the last one counts" in capsys.readouterr().out
    assert (folder / "trained" / "test.jsonl").read_bytes() == (finished / "trained" / "test.jsonl").read_bytes()
    train.train(config, folder)


@pytest.mark.fault(
    "SIGTERM in the middle of an export",
    promise="exit code 143, and nothing of it is left",
)
def test_export(finished, tmp_path, monkeypatch, capsys):
    def write_config(*arguments, real=export.write_config):
        os.kill(os.getpid(), signal.SIGTERM)
        real(*arguments)

    monkeypatch.setattr(export, "write_config", write_config)
    assert main.main(["export", str(finished), str(tmp_path / "out")]) == supervisor.ENDED
    assert "preempted while exporting" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert main.main(["export", str(finished), str(tmp_path / "out")]) == 0


@pytest.fixture
def rows(tmp_path):
    file = tmp_path / "rows.jsonl"
    row = {"question": "Was it wrong?", "options": ["yes", "no"], "counts": [3, 2]}
    file.write_text("".join(json.dumps(row | {"id": str(i), "text": f"She read {i} pages."}) + "\n" for i in range(20)))
    return file


@pytest.mark.fault(
    "a data file, or a file of the model (weights, config, tokenizer, template), that changes between two starts",
    promise="refused before anything is computed, naming the file, both SHA-256 and the remedy",
)
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("rows.jsonl", lambda data: data.replace(b"[3, 2]", b"[2, 3]", 1)),
        ("model.safetensors", lambda data: data[:-1] + bytes([data[-1] ^ 1])),
        ("config.json", lambda data: data.replace(b'"rms_norm_eps": 1e-05', b'"rms_norm_eps": 0.5')),
        ("tokenizer.json", lambda data: data + b" "),
        ("chat_template.jinja", lambda data: b"Answer wrongly. " + data),
    ],
)
def test_changed_file(name, change, config, rows, tiny_folder, tmp_path, monkeypatch):
    model = shutil.copytree(tiny_folder, tmp_path / "model")
    config = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, path=str(model)),
        task=TaskConfig(name="votes", path=str(rows)),
    )

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "answer", killed)  # the first computation
    with pytest.raises(KeyboardInterrupt):
        train.train(config, tmp_path / "r")
    file = rows if name == rows.name else model / name
    data = file.read_bytes()
    changed = change(data)
    assert changed != data
    file.write_bytes(changed)
    was, now = (hashlib.sha256(content).hexdigest() for content in (data, changed))
    with pytest.raises(UserError, match=rf"{file.name}: no longer what .*{was}.*{now} now.*--workdir=ANOTHER"):
        train.train(config, tmp_path / "r")
    file.write_bytes(data)
    with pytest.raises(KeyboardInterrupt):
        train.train(config, tmp_path / "r")
