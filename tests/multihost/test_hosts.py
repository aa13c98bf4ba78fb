"""Tests several real processes with real collectives: the numbers of one process, and a clear error if one dies."""

import fnmatch
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from moral_jax.cli import main
from moral_jax.config import parsing
from moral_jax.models import api
from moral_jax.runs import rollouts
from moral_jax.runs.records import read_jsonl
from moral_jax.runs.text_records import read_text_jsonl
from moral_jax.runtime import distributed, supervisor
from moral_jax.train.checkpoint import Checkpoints
from moral_jax.types import UserError
from moral_jax.workflows import local_model
from tests.helpers import quick, tiny
from tests.helpers.forks import Forked
from tests.multihost import child

ROOT = Path(__file__).resolve().parents[2]
HEARTBEAT, LIMIT = 10, 400
CONFIG = """
from moral_jax import config

def get_config():
    c = config.default()
    c.model.path, c.model.unroll, c.model.product_dtype = {model!r}, 1, "float32"
    c.task.name, c.task.limit = "synthetic", 8
    c.data.length, c.data.batch_size, c.data.micro_batch_size, c.eval.batch_size = 160, 8, 4, 4
    c.data.questions_per_row = 2
    c.objective.name, c.objective.concentration = "dirichlet_multinomial", "predicted"
    c.optim.lr = 3e-3
    c.train.steps, c.train.epochs, c.train.eval_every, c.train.checkpoint_every = 4, 6, 2, 1
    c.eval.bootstrap, c.eval.best_draws = 100, 10
    return c
"""
OF_PROMPTS = """
    c.task.name, c.task.limit, c.task.path, c.task.test = "prompts", None, {path!r}, 0.25
    c.data.questions_per_row = None
    c.objective.name, c.objective.concentration, c.objective.kl_weight = "grpo", "fixed", 0.01
    c.rollout.reward, c.rollout.prompts, c.rollout.steps = {reward!r}, 4, 2
    c.rollout.sample.n, c.rollout.sample.max_tokens, c.rollout.sample.slots = 3, 12, 12
    return c"""
OF_PAIRS = """
    c.task.name, c.task.path, c.task.limit, c.task.validation, c.task.test = "preferences", {path!r}, None, 0.3, 0.0
    c.objective.name, c.objective.concentration, c.data.length = "dpo", "fixed", 96
    c.train.steps, c.train.epochs, c.train.eval_every = 2, 2, 2
    return c
"""
# train.py that prints what it writes, except checkpoints, of which every process writes its part
WATCHED = """
import os, sys
from moral_jax.cli import main as cli

def watch(event, args):
    changes = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate")
    writes = event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if changes or writes:
        path = os.path.abspath(os.fsdecode(args[0])) + "/"
        if path.startswith(folder) and not path.startswith(folder + "checkpoints/"):
            print(event, *args, flush=True)

folder = next(a for a in sys.argv if a.startswith("--workdir=")).removeprefix("--workdir=") + "/"
sys.addaudithook(watch)
sys.exit(cli.train_main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    """Returns an environment with one device per process and a temporary cache."""
    cache = str(tmp_path_factory.mktemp("cache"))
    own = {"MORAL_JAX_CACHE": cache, "MORAL_JAX_HEARTBEAT_SECONDS": str(HEARTBEAT)}
    return os.environ | quick.PROCESS | own


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("config")
    model = folder / "model"
    model.mkdir()
    tiny.write_folder(model, layers=1)
    (folder / "c.py").write_text(CONFIG.format(model=str(model)))
    return folder / "c.py"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def flags(config_file, folder, me=None, count=None, port=None):
    several = [] if me is None else [f"--coordinator=127.0.0.1:{port}", f"--processes={count}", f"--process={me}"]
    return [f"--config={config_file}", f"--workdir={folder}", *several]


def ends(processes) -> list[tuple[int, str, str]]:
    """Waits for all processes, or kills them; returns exit code, output and errors of each."""
    try:
        said = [p.communicate(timeout=LIMIT) for p in processes]
    finally:
        for p in processes:
            p.kill()
    return [(p.returncode, *text) for p, text in zip(processes, said, strict=True)]


@pytest.fixture(scope="module")
def fork(env, tmp_path_factory):
    """Starts a process that runs a function of `child`."""
    folder, count = tmp_path_factory.mktemp("said"), itertools.count()

    def start(main, *arguments, cwd=None, **more) -> Forked:
        return Forked(main, arguments, env | more, folder / str(next(count)), cwd)

    return start


@pytest.fixture(scope="module")
def train(fork, config_file):
    """Trains with `count` processes, each of which must succeed; returns what each said."""

    def run(folder, count=1, config=config_file):
        port = free_port()
        numbered = [()] if count == 1 else [(i, count, port) for i in range(count)]
        out = ends([fork(child.train, "", flags(config, folder, *which)) for which in numbered])
        assert [code for code, _, _ in out] == [0] * count, out
        return out

    return run


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(config_file, folder):
    model = local_model.find_model(parsing.from_flags([f"--config={config_file}"])).model
    with Checkpoints(folder / "checkpoints") as checkpoints:
        return checkpoints.restore_params(checkpoints.latest(), api.abstract_params(model))


def assert_same_run(config_file, got, want):
    """Compares every number of two runs, which may differ only by the order of float32 sums."""
    assert [(r["step"], r["kind"]) for r in lines(got)] == [(r["step"], r["kind"]) for r in lines(want)]
    for a, b in zip(lines(got), lines(want), strict=True):
        for name in a.keys() - {"kind", "seconds", "idle"}:
            assert a[name] == pytest.approx(b[name], rel=5e-6, abs=1e-6), (a["step"], name)
    for file in ("initial/test.jsonl", "initial/validation.jsonl", "trained/test.jsonl", "trained/validation.jsonl"):
        for a, b in zip(read_jsonl(got / file), read_jsonl(want / file), strict=True):
            assert a["id"] == b["id"]
            np.testing.assert_allclose(a["probabilities"], b["probabilities"], atol=2e-6)
            assert a["option_mass"] == pytest.approx(b["option_mass"], rel=1e-5)
    # a step moves a weight by up to 3e-3, as Adam divides a small gradient and its noise by the gradient's size
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=5e-6), weights(config_file, got), weights(config_file, want)
    )


@pytest.fixture(scope="module")
def one(train, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one") / "r"
    train(folder)
    return folder


@pytest.fixture(scope="module")
def two(config_file, env, tmp_path_factory):
    """As a person starts them: nothing is imported before the supervisor forks."""
    folder, port = tmp_path_factory.mktemp("two") / "r", free_port()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

    def start(me, *how):
        command = [sys.executable, *how, *flags(config_file, folder, me, 2, port)]
        return subprocess.Popen(command, env=env, cwd=ROOT, **pipes)

    out = ends([start(0, "train.py"), start(1, "-c", WATCHED)])
    assert [code for code, _, _ in out] == [0, 0], out
    return folder, out


def test_two_processes_give_the_numbers_of_one(config_file, one, two):
    assert_same_run(config_file, two[0], one)


def test_only_the_primary_writes_and_speaks(one, two):
    folder, ((_, primary, _), (_, other, _)) = two
    assert {p.name for p in folder.iterdir()} == {p.name for p in one.iterdir()}
    assert not list(folder.rglob("*.partial"))
    assert len(list((folder / "tensorboard").iterdir())) == 1
    assert [p.name for p in sorted((folder / "checkpoints").iterdir())] == [
        p.name for p in sorted((one / "checkpoints").iterdir())
    ]
    assert "| after fine-tuning" in primary
    assert "report: " in primary
    assert [line for line in other.splitlines() if not line.startswith("[Gloo]")] == []


def answers(processes):
    out = ends(processes)
    assert [code for code, _, _ in out] == [0] * len(out), out
    return [json.loads(text.splitlines()[-1]) for _, text, _ in out]


def assert_they_divide_the_work(told):
    """Checks that each process has its own rows and receives the values of the primary."""
    count = len(told)
    assert [me for me, *_ in told] == list(range(count))
    held = [rows for _, rows, *_ in told]
    assert sorted(row for rows in held for row in rows) == list(range(8))  # each row once, two micro-batches of four
    assert all(len([row for row in rows if row < 4]) == 4 // count for rows in held)
    for me, _, *rest, differs in told:
        assert rest == [0, 3000, "the primary's own words"]
        assert ("the colour" in differs) == (me > 0)


def of_srun(count):
    """Returns the variables that srun sets for each of some processes."""
    step = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_NTASKS": str(count), "SLURM_STEP_NODELIST": "localhost"}
    return [step | {"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)} for i in range(count)]


def test_slurm_says_who_is_who_and_four_divide_the_work(fork):
    """Sets the variables of srun and no flags."""
    assert_they_divide_the_work(answers([fork(child.ask, i, **mine) for i, mine in enumerate(of_srun(4))]))


def test_two_processes_write_the_tokens_of_one(fork):
    told = answers([fork(child.write, **mine) for mine in of_srun(2)])
    assert told[0] == told[1] == child.written(tiny.mesh(1, 1, 1))


@pytest.mark.parametrize(
    ("variables", "chips", "expected"),
    [
        ({"SLURM_NTASKS": "2", "SLURM_STEP_NODELIST": "localhost"}, [], True),
        ({"SLURM_NTASKS": "1", "SLURM_STEP_NODELIST": "localhost"}, [], False),
        ({"SLURM_NTASKS": "2"}, [], False),  # the batch script itself, outside srun
        ({}, ["/dev/accel0"], True),
        ({}, ["/dev/vfio/0"], True),
        ({}, [], False),
    ],
)
def test_where_others_are_expected_without_flags(variables, chips, expected, monkeypatch):
    monkeypatch.setattr(supervisor.glob, "glob", lambda pattern: [c for c in chips if fnmatch.fnmatch(c, pattern)])
    monkeypatch.setattr(supervisor.importlib.util, "find_spec", lambda _: object())
    for name in ("SLURM_NTASKS", "SLURM_STEP_NODELIST"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert supervisor.expects_others(None, None, None) == expected


def reach_step_2(folder, processes) -> None:
    """Waits until a run of several processes stalls after step 2."""
    end = time.monotonic() + LIMIT
    while not (folder / "metrics.jsonl").exists() or '"step": 1,' not in (folder / "metrics.jsonl").read_text():
        assert [p.poll() for p in processes] == [None] * len(processes)
        assert time.monotonic() < end
        time.sleep(0.1)


def two_of_which(does, fork, config_file, folder) -> list[Forked]:
    """Two processes that have done step 2; what the second one does next is given."""
    port = free_port()
    both = [fork(child.train, what, flags(config_file, folder, i, 2, port)) for i, what in enumerate(("", does))]
    reach_step_2(folder, both)
    return both


@pytest.mark.fault(
    "SIGTERM to one of two processes",
    promise="both stop at the same step, saved, exit code 0; four processes go on, to the numbers of one",
)
def test_when_one_is_preempted_all_stop_and_the_run_goes_on_with_more(config_file, fork, train, one, tmp_path):
    folder = tmp_path / "r"
    both = two_of_which("wait", fork, config_file, folder)
    os.kill(both[1].pid, signal.SIGTERM)  # to its supervisor, as a scheduler does
    (code_0, said, _), (code_1, silent, _) = ends(both)
    assert (code_0, code_1) == (0, 0)
    assert re.search(r"preempted: step [23] of 4 is saved; the same command", said)  # 2 if the signal arrived early
    assert "preempted" not in silent
    assert "resuming" in train(folder, 4)[0][1]
    assert_same_run(config_file, folder, one)


@pytest.mark.fault(
    "SIGKILL of one of two processes",
    promise="the other ends with exit code 3 and says why; one process goes on, to the numbers of one",
)
def test_when_one_is_killed_the_rest_end_and_the_run_goes_on_with_fewer(config_file, fork, train, one, tmp_path):
    folder = tmp_path / "r"
    both = two_of_which("stall", fork, config_file, folder)
    os.kill(both[1].pid, signal.SIGKILL)
    since = time.monotonic()
    (code, _, said), _ = ends(both)
    assert time.monotonic() - since < 60
    assert code == supervisor.LOST
    errors = [line for line in said.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert errors[0].startswith("error: process 0 of 2: lost another process of this run (")
    assert "resumes from the last checkpoint" in errors[0]
    train(folder)
    assert_same_run(config_file, folder, one)


def test_preferences_of_two_processes_have_the_numbers_of_one(config_file, train, tmp_path):
    """References too: each process computes its part, and all fill the whole column."""
    rows = [{"prompt": f"Number {i}?", "chosen": "yes " * (i % 4 + 1), "rejected": f"never {i}"} for i in range(12)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = config_file.read_text().replace("    return c", OF_PAIRS.format(path=str(tmp_path / "pairs.jsonl")))
    (tmp_path / "pairs.py").write_text(text)
    runs = tmp_path / "one", tmp_path / "two"
    for count, run in enumerate(runs, 1):
        train(run, count, tmp_path / "pairs.py")
    for one, two in zip(*map(lines, runs), strict=True):
        for name in one.keys() - {"kind", "seconds", "idle"}:
            assert one[name] == pytest.approx(two[name], rel=5e-6, abs=2e-6), (one["step"], name)
    assert lines(runs[1])[0]["loss"] == pytest.approx(np.log(2), abs=1e-5)
    for stage in ("initial", "trained"):
        of_both = (read_text_jsonl(run / stage / "validation.jsonl") for run in runs)
        for a, b in zip(*of_both, strict=True):
            np.testing.assert_allclose(a["logp"], b["logp"], rtol=2e-6)


def test_rollouts_of_two_processes_are_those_of_one(config_file, train, tmp_path):
    """Replies are written together, and a user's reward is asked on the first process alone."""
    prompts, mine = tmp_path / "prompts.jsonl", tmp_path / "mine.py"
    prompts.write_text("".join(json.dumps({"prompt": f"Number {i}?"}) + "\n" for i in range(12)))
    mine.write_text(
        "import os\n\ndef own(replies):\n    print('asked')\n    return [r.text.count('e') for r in replies]\n"
    )
    values = {"path": str(prompts), "reward": f"{mine}:own"}
    text = config_file.read_text().replace("    return c", OF_PROMPTS.format(**values))
    (tmp_path / "prompts.py").write_text(text)
    runs = tmp_path / "one", tmp_path / "two"
    said = [train(run, count, tmp_path / "prompts.py") for count, run in enumerate(runs, 1)]
    assert "asked" in said[1][0][1]
    assert "asked" not in said[1][1][1]
    for one, two in zip(*map(lines, runs), strict=True):
        for name in one.keys() - {"kind", "seconds", "idle", "writing_seconds", "scoring_seconds"}:
            assert one[name] == pytest.approx(two[name], rel=1e-5, abs=2e-6), (one["step"], name)
    for number in (0, 1):
        of_both = [rollouts.read(run / "rollouts", number) for run in runs]
        assert of_both[0].lines == of_both[1].lines
        for a, b in zip(*(r.tokens["ids"] for r in of_both), strict=True):
            assert (a == b).all()


def test_a_mistake_on_one_machine_ends_all(config_file, fork, tmp_path):
    """Only process 0 finds the rows: the path is relative, and the two working directories differ."""
    row = {"text": "She read it.", "question": "Was it wrong?", "options": ["yes", "no"], "counts": [3, 2]}
    here, there = tmp_path / "0", tmp_path / "1"
    here.mkdir(), there.mkdir()
    (here / "rows.jsonl").write_text("".join(json.dumps(row | {"id": str(i)}) + "\n" for i in range(20)))
    port, votes = free_port(), ["--config.task.name=votes", "--config.task.path=rows.jsonl"]
    since = time.monotonic()
    both = [
        fork(child.train, "", [*votes, *flags(config_file, tmp_path / "r", i, 2, port)], cwd=cwd)
        for i, cwd in enumerate((here, there))
    ]
    (code_0, _, said_0), (code_1, _, said_1) = ends(both)
    assert time.monotonic() - since < 120
    assert (code_0, code_1) == (supervisor.LOST, supervisor.FAILED)
    assert re.search(r"^error: process 1 of 2: .*rows.jsonl", said_1, re.M)
    assert "Traceback" not in said_1
    assert "error: process 0 of 2: lost another process" in said_0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--coordinator=127.0.0.1:1234"], "give all three, or none"),
        (["--processes=2", "--process=0"], "give all three, or none"),
        (["--coordinator=127.0.0.1:1234", "--processes=2", "--process=2"], "--process=2: expected 0 to 1"),
        (["--coordinator=127.0.0.1:1234", "--processes=2", "--process=-1"], "--process=-1: expected 0 to 1"),
        (["--coordinator=127.0.0.1:1234", "--processes=0", "--process=0"], "--processes=0"),
        (["--coordinator=somewhere", "--processes=2", "--process=0"], "expected HOST:PORT"),
        (["--coordinator=somewhere:http", "--processes=2", "--process=0"], "expected HOST:PORT"),
    ],
)
def test_flags_that_make_no_sense(arguments, message, config_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        supervisor, "fork_supervisor", lambda _: pytest.fail("was let through")
    )  # this process must not fork
    assert main.train_main([*flags(config_file, tmp_path / "r"), *arguments]) == supervisor.FAILED
    assert message in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_time_limits_are_whole_seconds(config_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(supervisor, "fork_supervisor", lambda _: pytest.fail("was let through"))
    monkeypatch.setenv("MORAL_JAX_HEARTBEAT_SECONDS", "soon")
    assert main.train_main(flags(config_file, tmp_path / "r", 0, 2, 1234)) == supervisor.FAILED
    assert "MORAL_JAX_HEARTBEAT_SECONDS=soon: expected" in capsys.readouterr().err


def test_others_that_never_come(config_file, fork, tmp_path):
    """Starts without a coordinator, with the coordinator alone, and on a port that is taken."""
    with socket.create_server(("", 0)) as taken:
        ports = free_port(), free_port(), taken.getsockname()[1]
        since = time.monotonic()
        commands = [flags(config_file, tmp_path / "r", me, 2, port) for me, port in zip((1, 0, 0), ports, strict=True)]
        out = ends([fork(child.train, "", command, MORAL_JAX_START_SECONDS="5") for command in commands])
    assert time.monotonic() - since < 90
    for (code, _, said), message in zip(
        out,
        ("process 1 of 2 could not connect within 5 s", "could not join the other processes", "in use"),
        strict=True,
    ):
        errors = [line for line in said.splitlines() if line.startswith("error:")]
        assert (code, len(errors)) == (supervisor.FAILED, 1), said
        assert message in errors[0]
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("code", "name", "expected"),
    [
        (0, "process 0 of 2", (0, "")),
        (2, "", (2, "")),
        (-signal.SIGABRT, "", (supervisor.FAILED, "could not join the other processes at HERE")),
        (-signal.SIGABRT, "process 1 of 2", (supervisor.LOST, "process 1 of 2: lost another process")),
        (-signal.SIGKILL, "process 1 of 2", (137, "process 1 of 2: was ended by SIGKILL (sent by a user")),
        (-signal.SIGTERM, "", (143, "this process: was ended by SIGTERM")),
    ],
)
def test_the_supervisors_verdict(code, name, expected):
    got = supervisor.verdict(code, name, "HERE")
    assert got[0] == expected[0]
    assert got[1].startswith(expected[1])


def test_last_words():
    def code(error):
        return distributed.last_words(error)[0]

    assert code(UserError("x")) == supervisor.FAILED
    assert code(KeyboardInterrupt()) == supervisor.STOPPED
    assert code(ValueError("UNKNOWN: Gloo AllGather failed: Connection reset by peer")) == supervisor.LOST
    assert code(jax.errors.JaxRuntimeError("DEADLINE_EXCEEDED: barrier")) == supervisor.LOST
    assert code(jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")) == 1
    assert code(KeyError("gloo")) == 1
    wrapped = RuntimeError("could not save")
    wrapped.__cause__ = jax.errors.JaxRuntimeError("UNAVAILABLE: peer")
    assert code(wrapped) == supervisor.LOST
