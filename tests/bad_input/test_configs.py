"""Tests config files, flags and environment variables: each mistake of a user gets a helpful message."""

import json

import pytest

from moral_jax.cli import main
from tests.bad_input.refusal import Case, each

HEAD = "from moral_jax import config\n\n\ndef get_config():\n    c = config.default()\n"


def body(*lines):
    return HEAD + "".join(f"    {line}\n" for line in (*lines, "return c"))


FILES = (
    Case("empty", "", "bad.py", "defines no get_config"),
    Case("a syntax error", body("c.optim.lr = = 1"), "bad.py:6: failed with SyntaxError", "correct the file"),
    Case("an indentation error", HEAD + "   return c\n", "bad.py:6: failed with IndentationError", "correct the file"),
    Case("NUL bytes", "x = 1\0\n", "bad.py", "correct the file"),
    Case("a name that does not exist", body("c.optim.lr = rate"), "bad.py:6: failed with NameError", "'rate'"),
    Case(
        "an import that does not exist", "import no_such_package\n", "bad.py:1: failed with ModuleNotFound", "correct"
    ),
    Case("a division by zero", body("c.optim.lr = 1 / 0"), "bad.py:6: failed with ZeroDivisionError", "correct"),
    Case(
        "a recursion without end",
        "def get_config():\n    return get_config()\n",
        "bad.py:2: failed with Recursion",
        "correct",
    ),
    Case("a field that does not exist", body("c.optim.lrr = 1"), "bad.py:6: failed with AttributeError", "lrr"),
    Case("a text for a number", body("c.optim.lr = 'fast'"), "bad.py:6: failed with TypeError", "correct the file"),
    Case("a fraction for a whole number", body("c.data.length = 1.5"), "bad.py:6: failed with TypeError", "correct"),
    Case("nothing returned", HEAD, "get_config() returns NoneType", "expected config.default()"),
    Case(
        "a dict returned", "def get_config():\n    return {'optim': 1}\n", "returns dict", "expected config.default()"
    ),
    Case(
        "another ConfigDict",
        "from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict({'a': 1})\n",
        "config.a: no such field",
        "config.default()",
    ),
    Case("a section that is a number", body("c.optim = 5"), "bad.py:6: failed with TypeError", "correct the file"),
    Case("null for a number", body("c.optim.lr = None"), "config.optim.lr=None", "expected a finite number"),
    Case("get_config that is no function", "get_config = 7\n", "bad.py", "defines no get_config"),
    Case(
        "an error of its own",
        "raise RuntimeError('no')\n",
        "bad.py:1: failed with RuntimeError: no",
        "correct the file",
    ),
)
FLAGS = (
    Case("an infinite rate", ["--config.optim.lr=inf"], "config.optim.lr=inf", "a finite number"),
    Case("a rate that is none", ["--config.optim.lr=nan"], "config.optim.lr=nan", "a finite number"),
    Case("a negative rate", ["--config.optim.lr=-1"], "config.optim.lr=-1.0", "zero or more"),
    Case("a rate in words", ["--config.optim.lr=fast"], "--config.optim.lr=fast", "expected float"),
    Case("a rate beyond float64", ["--config.optim.lr=1e999"], "config.optim.lr=inf", "a finite number"),
    Case("infinite clipping", ["--config.optim.clip=inf"], "config.optim.clip=inf", "a finite number or none"),
    Case("infinite alpha", ["--config.adapter.alpha=inf"], "config.adapter.alpha=inf", "a finite number"),
    Case("rows of 10^18 tokens", ["--config.data.length=1000000000000000000"], "config.data.length", "below 2**31"),
    Case("a length of 5,000 digits", ["--config.data.length=" + "9" * 5000], "--config.data.length", "expected int"),
    Case("a length of zero", ["--config.data.length=0"], "config.data.length=0", "at least 1"),
    Case("a batch that cannot be divided", ["--config.data.batch_size=3"], "config.data.micro_batch_size", "a divisor"),
    Case("a share above one", ["--config.task.test=1.5"], "config.task.test=1.5", "a share in [0, 1]"),
    Case(
        "shares above one together",
        ["--config.task.test=0.7", "--config.task.validation=0.7"],
        "config.task.test",
        "<= 1",
    ),
    Case("infinite votes", ["--config.task.total_votes=inf"], "config.task.total_votes=inf", "a finite number or none"),
    Case("a pattern without end", ["--config.adapter.targets=("], "config.adapter.targets='('", "a regular expression"),
    Case("a yes for a truth", ["--config.eval.test=yes"], "--config.eval.test=yes", "true or false"),
    Case("a misspelt field", ["--config.optim.lrr=1"], "--config.optim.lrr", "did you mean --config.optim.lr?"),
    Case("a section", ["--config.optim=1"], "--config.optim", "its fields are"),
    Case("no value", ["--config.optim.lr"], "--config.optim.lr", "a value is missing"),
    Case("an unknown flag", ["--lr=1"], "--lr=1", "--config.SECTION.FIELD=VALUE"),
    Case(
        "a task that does not exist", ["--config.task.name=votess"], "config.task.name='votess'", "there are dilemmas"
    ),
    Case(
        "a file of rows that is a folder",
        ["--config.task.name=votes", "--config.task.path=."],
        "holds no file of rows",
        "expected names that end",
    ),
    Case(
        "a name of 5,000 letters", ["--config.task.name=votes", "--config.task.path=" + "a" * 5000], "aaa", "too long"
    ),
    Case(
        "NUL in a file's name", ["--config.task.name=votes", "--config.task.path=a\0b"], "config.task.path", "remove it"
    ),
    Case("a model in a pickle", ["--config.model.path=model.bin"], "model.path='model.bin'", "Pickles"),
    Case(
        "a package with dots",
        ["--config.model.path=package:os.path/x.gguf"],
        "'package:os.path/x.gguf'",
        "package:NAME/FILE",
    ),
    Case(
        "a package without a name",
        ["--config.model.path=package:/etc/passwd"],
        "package:/etc/passwd",
        "package:NAME/FILE",
    ),
    Case(
        "a way out of a package",
        ["--config.model.path=package:moral_jax/../README.md"],
        "holds no file",
        "'../README.md'",
    ),
    Case(
        "a password in an address",
        ["--config.model.path=https://me:hunter22@host/x"],
        "--config.model.path",
        "leave it out",
    ),
    Case("a seed below zero", ["--config.train.seed=-1"], "config.train.seed=-1", "zero or more"),
    Case("a statistics' seed below zero", ["--config.eval.seed=-1"], "config.eval.seed=-1", "zero or more"),
    Case("epochs without end", ["--config.train.epochs=2000000000"], "config.train.epochs=2000000000", "0 to 10000"),
    Case("draws without end", ["--config.eval.best_draws=2000000000"], "config.eval.best_draws", "10 to 100000"),
    Case("resamples without end", ["--config.eval.bootstrap=2000000000"], "config.eval.bootstrap", "100 to 100000"),
    Case("rows in a bucket", ["--config.task.path=gs://b/rows.jsonl"], "--config.task.path=gs:/", "Mount the bucket"),
    Case("test rows on a page", ["--config.task.test_path=https://h/x"], "--config.task.test_path", "local paths only"),
    Case("a model in a bucket", ["--config.model.path=s3://b/m"], "--config.model.path=s3:/", "Mount the bucket"),
    Case("tensor cuts that do not fit", ["--config.mesh.tensor=0"], "config.mesh.tensor=0", "at least 1"),
    Case("a preset that is none", ["PRESET"], "has no presets", "leave out ':fast'"),
)
ENVIRONMENT = (
    Case(
        "no number of seconds",
        ("MORAL_JAX_HEARTBEAT_SECONDS", "soon"),
        "MORAL_JAX_HEARTBEAT_SECONDS=soon",
        "at least 1",
    ),
    Case("zero seconds", ("MORAL_JAX_START_SECONDS", "0"), "MORAL_JAX_START_SECONDS=0", "at least 1"),
    Case(
        "5,000 digits of seconds",
        ("MORAL_JAX_START_SECONDS", "9" * 1500),
        "MORAL_JAX_START_SECONDS",
        "at most 6 digits",
    ),
)
SEVERAL = (
    Case(
        "a port of 5,000 digits",
        ["--coordinator=h:" + "9" * 1500, "--processes=2", "--process=0"],
        "--coordinator",
        "HOST:PORT",
    ),
    Case(
        "a port above all",
        ["--coordinator=h:65536", "--processes=2", "--process=0"],
        "--coordinator=h:65536",
        "HOST:PORT",
    ),
    Case("no host", ["--coordinator=:1", "--processes=2", "--process=0"], "--coordinator=:1", "HOST:PORT"),
    Case("a process that is not there", ["--coordinator=h:1", "--processes=2", "--process=2"], "--process=2", "0 to 1"),
    Case("no processes", ["--coordinator=h:1", "--processes=0", "--process=0"], "--processes=0", "at least 1"),
    Case("a flag missing", ["--coordinator=h:1", "--processes=2"], "--process", "give all three, or none"),
    Case(
        "processes in words",
        ["--coordinator=h:1", "--processes=two", "--process=0"],
        "--processes",
        "invalid int value",
    ),
)
SAVED = (
    Case("empty", b"", "config.json", "not valid JSON"),
    Case("cut", b'{"optim": {"lr"', "config.json", "not valid JSON"),
    Case("a list", b"[]", "config.json", "expected a JSON object"),
    Case("a field of another project", b'{"learning_rate": 1}', "config.json", "put back what the run wrote"),
    Case("a misspelt field", b'{"optim": {"lrr": 1}}', "config.json", "lrr"),
    Case("a text for a number", b'{"optim": {"lr": "x"}}', "config.json", "put back what the run wrote"),
    Case("null for a number", b'{"optim": {"lr": null}}', "config.optim.lr=None", "a finite number"),
    Case("a section that is a number", b'{"optim": 7}', "config.json", "put back what the run wrote"),
    Case("a section that is null", b'{"optim": null}', "config.json", "put back what the run wrote"),
    Case("an infinite number", b'{"optim": {"lr": Infinity}}', "config.optim.lr=inf", "a finite number"),
    Case("a key twice", b'{"optim": {}, "optim": {}}', "config.json: the key 'optim'", "appears twice"),
    Case("nested 100,000 deep", b'{"a":' * 100_000, "config.json", "not valid JSON"),
    Case("bytes that are no text", b"\xff\xfe\0\1", "config.json", "not valid JSON"),
    Case("a value out of range", b'{"data": {"length": -4}}', "config.data.length=-4", "at least 1"),
)
CASES = FILES + FLAGS + ENVIRONMENT + SEVERAL + SAVED


def train(refused, case, *arguments):
    return refused(
        case, *arguments, f"--workdir={refused.folder / 'run'}", run=refused.folder / "run", main=main.train_main
    )


@pytest.mark.fault("config files that are wrong or fail", promise="file, line and remedy; exit code 2")
@each(FILES)
def test_config_files(case, refused, tmp_path):
    (tmp_path / "bad.py").write_text(case.given)
    train(refused, case, f"--config={tmp_path / 'bad.py'}")


@pytest.mark.fault("flags that are wrong, out of range or without end", promise="field, value, what is expected")
@each(FLAGS)
def test_flags(case, refused, config_of):
    file = config_of("synthetic") + (":fast" if case.given == ["PRESET"] else "")
    (refused.folder / "model.bin").write_bytes(b"\x80\x04N.")
    rest = [flag for flag in case.given if flag != "PRESET"]
    if any(flag.startswith(("--config.model", "--config.mesh")) for flag in rest):
        train(refused, case, file, *rest)
    else:  # needs no model, so none is loaded
        refused(case, "baseline", "prior", file, *rest, f"--workdir={refused.folder / 'run'}")


@each(ENVIRONMENT)
def test_the_environment(case, refused, config_of, monkeypatch):
    monkeypatch.setenv(*case.given)
    train(refused, case, config_of("synthetic"), "--coordinator=127.0.0.1:9", "--processes=2", "--process=1")


@each(SEVERAL)
def test_several_processes(case, refused, config_of):
    train(refused, case, config_of("synthetic"), *case.given)


@pytest.mark.fault("a run's config.json that is damaged", promise="one message, exit code 2")
@each(SAVED)
def test_the_config_of_a_run(case, refused, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_bytes(case.given)
    refused(case, "export", str(tmp_path / "run"), str(tmp_path / "out"))


def test_the_config_that_the_others_are_changes_of(tmp_path):
    from moral_jax.config import parsing, saved

    (tmp_path / "good.py").write_text(body("c.optim.lr = 1"))
    assert parsing.from_flags([f"--config={tmp_path / 'good.py'}"]).optim.lr == 1.0
    (tmp_path / "config.json").write_text(json.dumps({"optim": {"lr": 2}}))
    assert saved.read(tmp_path / "config.json").optim.lr == 2.0
