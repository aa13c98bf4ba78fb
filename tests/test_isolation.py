"""A run speaks to nobody and listens for nobody: sockets are forbidden, and looked for in the kernel's table."""

import dataclasses
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest

from moral_jax.cli import main
from moral_jax.config.evaluate import EvalConfig
from moral_jax.config.task import TaskConfig
from moral_jax.config.train import TrainConfig
from moral_jax.runs.metric_log import RunLog
from moral_jax.workflows import train
from tests.helpers import tiny
from tests.helpers.sockets import LISTENS, sockets

ROOT = Path(__file__).resolve().parents[1]
pytestmark = [
    pytest.mark.usefixtures("two_devices"),
    pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="needs /proc of Linux"),
]


class ForbiddenError(AssertionError):
    """Somebody wanted to speak to the network."""


@pytest.fixture
def no_network(monkeypatch):
    """Every connection and every look-up of a name fails, and is counted."""
    wanted = []

    def refuse(*arguments, **_):
        wanted.append(arguments[1:])
        raise ForbiddenError(str(arguments[1:]))

    for name in ("connect", "connect_ex", "bind", "listen", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **_: refuse(None, *a))
    monkeypatch.setattr(socket, "create_connection", lambda *a, **_: refuse(None, *a))
    return wanted


@pytest.mark.fault("no network at all", promise="a run from local files works and asks for none; it listens nowhere")
def test_a_run_speaks_to_nobody_and_listens_nowhere(tiny_folder, tmp_path, no_network, monkeypatch):
    seen, before = [], sockets()
    write = RunLog.write

    def watched(self, *line):
        seen.append(sockets())
        write(self, *line)

    monkeypatch.setattr(RunLog, "write", watched)
    config = dataclasses.replace(
        tiny.run_config(tiny_folder),
        task=TaskConfig(name="synthetic", limit=4),
        train=TrainConfig(epochs=1),
        eval=EvalConfig(bootstrap=100, best_draws=10),
    )
    assert train.train(config, tmp_path / "run").html.exists()
    assert no_network == []
    assert seen
    assert all(now == before for now in seen), (before, seen)


def test_the_watch_sees_a_socket_that_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = f"{server.getsockname()[1]:04X}"
        assert (f"0100007F:{port}", LISTENS) in sockets()


def test_the_ban_sees_a_connection(no_network):
    with pytest.raises(ForbiddenError):
        socket.create_connection(("127.0.0.1", 9))
    assert no_network


def test_the_page_needs_no_network(no_network, tmp_path):
    (tmp_path / "c.py").write_text(
        "from moral_jax import config\ndef get_config():\n    c = config.default()\n    c.task.name = 'synthetic'\n"
        "    c.eval.bootstrap, c.eval.best_draws = 100, 10\n    return c\n"
    )
    assert main.main(["baseline", "prior", f"--config={tmp_path / 'c.py'}", f"--workdir={tmp_path / 'r'}"]) == 0
    assert no_network == []


@pytest.mark.fault("HF_HUB_OFFLINE with a model that is not here", promise="one message; nobody is asked")
def test_hf_hub_offline_is_honoured(no_network, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "q.txt").write_text("Was it? | yes | no\n")
    assert main.main(["ask", "--model=owner/model", str(tmp_path / "q.txt")]) == 2
    assert "HF_HUB_OFFLINE is set" in capsys.readouterr().err
    assert no_network == []


def test_nothing_is_reported_to_the_hub():
    """What huggingface_hub would add to its requests about this machine is off, whoever imports it first."""
    code = (
        "import moral_jax, transformers, huggingface_hub\nfrom huggingface_hub import constants, utils\n"
        "print(constants.HF_HUB_DISABLE_TELEMETRY, utils.build_hf_headers()['user-agent'])"
    )
    env = {k: v for k, v in os.environ.items() if "TELEMETRY" not in k and "TRACK" not in k}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, env=env)
    assert done.stdout.startswith("True ")
    assert "torch" not in done.stdout


@pytest.mark.fault("processes that meet on 127.0.0.1", promise="the coordinator listens on loopback alone")
def test_processes_that_meet_on_loopback_are_heard_there_alone():
    """The coordinator of JAX listens at every address of the machine, if it is not told otherwise."""
    code = (
        "import sys\nfrom moral_jax.runtime import distributed\nfrom tests.helpers.sockets import LISTENS, sockets\n"
        "distributed.start(f'127.0.0.1:{sys.argv[1]}', 1, 0)\nprint(*[a for a, s in sockets() if s == LISTENS])"
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = subprocess.run(
        [sys.executable, "-c", code, str(port)], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    listening = re.findall(r"[0-9A-F]{8,32}:[0-9A-F]{4}", done.stdout)
    assert any(address.endswith(f":{port:04X}") for address in listening), done.stdout
    assert all(address.startswith(("0100007F:", "0000000000000000FFFF00000100007F:")) for address in listening), (
        listening
    )
