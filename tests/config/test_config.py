"""Configs: locked, checked, overridable, explained, and without a field that nobody reads."""

import ast
import dataclasses
from pathlib import Path

import pytest

from moral_jax import config, objectives
from moral_jax.config import Config, model, parsing, saved
from moral_jax.types import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "c.py"
    path.write_text(
        "from moral_jax import config\n\n"
        "def get_config():\n    c = config.default()\n    c.optim.lr = 0.5\n    return c\n"
    )
    return str(path)


def flags(file, *overrides):
    return parsing.from_flags([f"--config={file}", *overrides])


def test_defaults_are_the_dataclasses():
    assert config.build(config.default()) == Config()


def test_file_then_flags(file):
    assert flags(file).optim.lr == 0.5
    got = flags(
        file, "--config.optim.lr=1e-5", "--config.train.steps=0", "--config.optim.clip=none", "--config.task.path=x=y"
    )
    assert (got.optim.lr, got.train.steps, got.optim.clip, got.task.path) == (1e-5, 0, None, "x=y")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.optim.lrr=1", r"--config.optim.lrr: no such field; did you mean --config.optim.lr\?"),
        ("--config.lr=1", r"did you mean --config.optim.lr\?"),
        ("--config.optim.learning_rat=1", "no such field"),
        ("--config.optim=1", "is a section; its fields are optim.lr, optim.head_lr"),
        ("--config.optim.lr=abc", "--config.optim.lr=abc: expected float"),
        ("--config.train.steps=1.5", "expected int or none"),
        ("--config.optim.lr", "a value is missing"),
        ("--confg.optim.lr=1", "unknown argument"),
        ("--config.optim.lr=-1", r"config.optim.lr=-1.0: expected zero or more"),
        ("--config.prompt.orders=some", "expected 'rotations' or 'reversal' or 'all' or 'given'"),
        ("--config.data.micro_batch_size=3", "a divisor of batch_size"),
        ("--config.task.test=0.95", "validation"),
        ("--config.task.train_share=0", r"expected a share in \(0, 1\]"),
        ("--config.eval.test=no", "--config.eval.test=no: expected true or false"),
    ],
)
def test_mistakes_are_named(file, override, message):
    with pytest.raises(UserError, match=message):
        flags(file, override)


def test_truth_is_written_out(file):
    assert [flags(file, f"--config.eval.test={x}").eval.test for x in ("true", "False")] == [True, False]


def test_a_run_scores_something(file):
    with pytest.raises(UserError, match="config.eval.initial=False: expected true where nothing is trained"):
        flags(file, "--config.train.steps=0", "--config.eval.initial=false")


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(UserError, match="--config=FILE is missing"):
        parsing.from_flags([])
    with pytest.raises(UserError, match="nowhere.py: no such file"):
        flags(tmp_path / "nowhere.py")
    (tmp_path / "empty.py").write_text("x = 1\n")
    with pytest.raises(UserError, match="defines no get_config"):
        flags(tmp_path / "empty.py")
    (tmp_path / "wrong.py").write_text(
        "from moral_jax import config\ndef get_config():\n    c = config.default()\n    c.optim.lrr = 1\n    return c\n"
    )
    with pytest.raises(UserError, match="wrong.py:4: failed with AttributeError.*lrr"):
        flags(tmp_path / "wrong.py")


def test_a_misspelt_field_cannot_be_set():
    with pytest.raises(AttributeError, match="lrr"):
        config.default().optim.lrr = 1


def test_json_and_back(tmp_path):
    changed = dataclasses.replace(Config(), optim=dataclasses.replace(Config().optim, lr=0.25, clip=None))
    saved.save(changed, tmp_path / "c.json")
    assert saved.read(tmp_path / "c.json") == changed
    assert saved.difference(Config(), changed) == ["optim.lr: 3e-05 -> 0.25", "optim.clip: 1.0 -> None"]


def test_a_run_may_go_on_with_other_devices_and_less_memory():
    """What changes no number is no other config."""
    changed = Config(mesh=model.MeshConfig(tensor=2), model=model.ModelConfig(load_piece_mb=1))
    assert saved.difference(Config(), changed) == []


def test_an_old_file_takes_new_defaults_and_an_alien_one_is_refused(tmp_path):
    (tmp_path / "c.json").write_text('{"optim": {"lr": 0.1}}')
    assert saved.read(tmp_path / "c.json").optim.lr == 0.1
    for alien in ('{"optim": {"lrr": 1}}', "[]", "{", '{"optim": {"lr": "x"}}'):
        (tmp_path / "c.json").write_text(alien)
        with pytest.raises(UserError, match="c.json: (not a config|not valid JSON|found list)"):
            saved.read(tmp_path / "c.json")


def test_help_explains_every_field():
    text = parsing.explain()
    for name in saved.FIELDS:
        assert f"--config.{name}=" in text
    assert "Peak learning rate." in text


RUNS = sorted(p for p in (ROOT / "configs").rglob("*.py") if p.parent.name != "studies")  # those are many runs


@pytest.mark.parametrize("path", RUNS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_config_file_builds_and_differs_from_the_defaults(path):
    assert saved.difference(Config(), flags(path))


def test_every_field_is_read_somewhere():
    """A setting that nobody reads is a promise that nobody keeps."""
    read = set()
    for path in (ROOT / "moral_jax").rglob("*.py"):
        if path.name in ("config.py", "parsing.py"):
            continue
        read |= {n.attr for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Attribute)}
    for objective in objectives.OBJECTIVES.values():  # a loss takes its settings by keyword
        read |= set(objective.settings)
    unread = [name for name in saved.FIELDS if name.rsplit(".", 1)[-1] not in read]
    assert not unread
