"""Keys and tokens: put where they could leak from, everything is made to fail, and all that is left is searched."""

import contextlib
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import errors as hub_errors

from moral_jax.cli import main as cli
from moral_jax.config import parsing
from moral_jax.report import page
from moral_jax.respondents.api import client
from moral_jax.runtime import console, secrets
from moral_jax.types import UserError
from moral_jax.weights import source
from tests.report.test_page import numbers, record
from tests.respondents import api_stub as stub

ROOT = Path(__file__).resolve().parents[2]
HUB, API, CLOUD = "hf_Za3x9QpLmN7vB2cD5eF8", stub.KEY, "q8R/t+Wz4Kk=9sYv"
CONFIG = """from moral_jax import config
import os


def get_config():
    c = config.default()
    c.task.name = "synthetic"
    c.task.limit = 2
    c.eval.bootstrap, c.eval.best_draws = 100, 10
    {line}
    return c
"""


@pytest.fixture(autouse=True)
def held(monkeypatch, tmp_path):
    """Three secrets in the environment; nothing else is to have them."""
    for name, value in {"HF_TOKEN": HUB, "OPENAI_API_KEY": API, "AWS_SECRET_ACCESS_KEY": CLOUD}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MORAL_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(capsys):
    """Runs a command line; returns its exit code and all that it said, which no secret is in."""

    def call(*arguments, main=cli.main):
        code = main(list(arguments))
        said = capsys.readouterr()
        assert leaks(said.out + said.err) == []
        return code, said.out + said.err

    return call


def leaks(text):
    return [secret for secret in (HUB, API, CLOUD) if secret in text]


def written(folder):
    """Which files below a folder hold a secret, in their names or in themselves."""
    return [
        p for p in folder.rglob("*") if leaks(str(p)) or p.is_file() and leaks(p.read_bytes().decode("latin-1"))
    ]  # fmt: skip


def config(tmp_path, line="pass"):
    (tmp_path / "c.py").write_text(CONFIG.format(line=line))
    return f"--config={tmp_path / 'c.py'}"


def test_the_search_itself_finds_them(tmp_path):
    (tmp_path / "a").write_bytes(b"\xff" + HUB.encode())
    assert written(tmp_path) == [tmp_path / "a"]


ERRORS = [
    hub_errors.GatedRepoError, hub_errors.RepositoryNotFoundError, hub_errors.RevisionNotFoundError,
    hub_errors.HfHubHTTPError, hub_errors.LocalEntryNotFoundError, hub_errors.HFValidationError,
    hub_errors.OfflineModeIsEnabled, ConnectionError, TimeoutError, OSError, RuntimeError,
]  # fmt: skip


@pytest.mark.parametrize("kind", ERRORS)
def test_errors_of_the_hub(kind, run, monkeypatch, tmp_path):
    def fails(*_, **__):
        error = kind.__new__(kind)
        error.args = (f"401 for https://user:{HUB}@host/x, Authorization: Bearer {HUB}",)
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fails)
    (tmp_path / "q.txt").write_text("Was it? | yes | no\n")
    code, said = run("ask", "--model=owner/model", "q.txt")
    assert code == 2
    assert "model.path='owner/model'" in said


@contextlib.contextmanager
def hub(status):
    """A hub on this machine that says what it was sent."""
    sent = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_): ...

        def do_GET(self):
            sent.append(self.headers.get("Authorization", ""))
            body = json.dumps({"error": f"you sent {sent[-1]}"}).encode()
            self.send_response(status)
            self.send_header("X-Error-Message", f"you sent {sent[-1]}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", sent
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.fault("a hub that refuses, and says the token back", promise="the token is in no message and no file")
@pytest.mark.parametrize("status", [400, 401, 403, 404, 418])
def test_a_hub_that_says_the_token_back(status, run, monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "q.txt").write_text("Was it? | yes | no\n")
    with hub(status) as (url, sent):
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
        code, said = run("ask", "--model=owner/model", "q.txt")
    assert code == 2
    assert "Traceback" not in said
    assert f"Bearer {HUB}" in sent  # it was used, from where it belongs
    assert written(tmp_path) == []


@pytest.mark.fault("an API that puts the key into everything it says", promise="the key is in no file and no message")
def test_an_api_that_says_the_key_back(run, monkeypatch, tmp_path):
    """In the names of model and version, which runs write down, and in tokens, which are kept."""
    honest = stub.chat

    def chat(body):
        reply = honest(body) | {"model": f"m-{API}", "system_fingerprint": f"f-{API}"}
        first = reply["choices"][0]["logprobs"]["content"][0]
        first["top_logprobs"] = [*first["top_logprobs"], {"token": API, "logprob": -9.0}]
        return reply

    monkeypatch.setattr(stub, "chat", chat)
    monkeypatch.setattr(client, "FIRST_WAIT", 0.001)
    with stub.serve() as (_, url):
        flags = [config(tmp_path), f"--base-url={url}", "--api-model=m", "--yes", "--config.prompt.answer_prefix=none"]
        code, said = run("api", *flags, f"--workdir={tmp_path / 'run'}")
    assert code == 0, said
    about = json.loads((tmp_path / "run" / "provenance.json").read_text())["model"]
    assert about["answered as"] == ["m-[key]"]
    assert about["fingerprints"] == ["f-[key]"]
    assert written(tmp_path) == []


@pytest.mark.fault("a key in a config", promise="refused before a file is written; the value is not said")
@pytest.mark.parametrize(
    ("flag", "what"),
    [
        (f"--config.model.path=owner/{HUB}", "holds the value of $HF_TOKEN"),
        (f"--config.task.path={API}.jsonl", "holds the value of $OPENAI_API_KEY"),
        (f"--config.prompt.system={CLOUD}", "holds the value of $AWS_SECRET_ACCESS_KEY"),
        ("--config.model.path=https://me:pw@huggingface.co/x", "a user or password before the host"),
    ],
)
def test_no_config_may_hold_one(flag, what, run, tmp_path):
    code, said = run(config(tmp_path), flag, f"--workdir={tmp_path / 'run'}", main=cli.train_main)
    assert code == 2
    assert what in said
    assert "leave it out" in said
    assert not (tmp_path / "run").exists()


STUDY = """from moral_jax.study.spec import Cell, Study, api

def get_study():
    first = Cell({row!r}, {task!r}, "", CONFIG, ({override!r},), "eval", ({argument!r},))
    return Study({title!r}, (first, *{more}), 1000)
"""
PLAIN = {"title": "t", "row": "a", "task": "b", "override": "--config.train.seed=0", "argument": "--yes", "more": "()"}


def api_cell(*flags):
    return f"(api('a', 't', CONFIG, flags={('--model=api:m', *flags)!r}),)"


@pytest.mark.fault("a key in any field of a study", promise="refused before a file is written; the value is not said")
@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("title", f"of {API}", "the title of the study: holds the value of $OPENAI_API_KEY"),
        ("row", API, "cell 1 of the study: row: holds the value of $OPENAI_API_KEY"),
        ("task", API, "cell 1 of the study: task: holds"),
        ("override", f"--config.task.path={API}.jsonl", "cell 1 of the study: overrides: holds"),
        ("override", "--config.task.path=https://me:pw@host/x", "overrides: holds a user or password before the host"),
        ("argument", f"--header=Bearer {API}", "cell 1 of the study: arguments: holds"),
        ("argument", "--header=q8R%2Ft%2BWz4Kk%3D9sYv", "arguments: holds the value of $AWS_SECRET_ACCESS_KEY"),
        ("more", api_cell("--base-url=https://me:hunter22@h/v1"), "a user or password before the host"),
        ("more", api_cell("--base-url=https://h/v1?key=hunter22"), "--base-url: holds a user, a password"),
        ("more", api_cell(f"--endpoint={API}"), "cell 2 of the study: overrides: holds"),
        ("more", api_cell("--api-key-env=sk-hunter22-0123456789"), "the key itself would be written down"),
    ],
)
@pytest.mark.parametrize("how", [[], ["--dry-run"]])
def test_no_study_may_hold_one(field, value, what, how, run, tmp_path):
    file = config(tmp_path).removeprefix("--config=")
    text = STUDY.format(**PLAIN | {field: value}).replace("CONFIG", repr(file))
    (tmp_path / "s.py").write_text(text)
    code, said = run("study", f"--config={tmp_path / 's.py'}", f"--workdir={tmp_path / 's'}", *how)
    assert code == 2, said
    assert what in said
    assert "hunter22" not in said
    assert not (tmp_path / "s").exists()


def test_a_value_that_argparse_cannot_read_is_not_said(capsys):
    with pytest.raises(SystemExit):
        cli.main(["export", "r", "o", f"--shard-mb={API}"])
    said = capsys.readouterr().err
    assert leaks(said) == []
    assert "invalid int value: '[$OPENAI_API_KEY]'" in said


def test_a_page_is_not_named_after_one(tmp_path):
    for stage in ("initial", "trained"):
        (tmp_path / HUB / stage).mkdir(parents=True)
        (tmp_path / HUB / stage / "metrics.json").write_text(json.dumps(numbers(0.6)))
        (tmp_path / HUB / stage / "test.jsonl").write_text(json.dumps(record(1, 0.4)) + "\n")
    (tmp_path / HUB / "run.json").write_text('{"stages": ["initial", "trained"]}')
    assert leaks(page.write(tmp_path / HUB).html.read_text()) == []


def test_nor_may_a_config_file(run, tmp_path):
    code, said = run(config(tmp_path, "c.model.path = os.environ['HF_TOKEN']"), main=cli.train_main)
    assert code == 2
    assert "--config.model.path: holds the value of $HF_TOKEN" in said


def test_errors_of_config_files(run, tmp_path):
    code, said = run(config(tmp_path, "raise RuntimeError(os.environ['HF_TOKEN'])"), main=cli.train_main)
    assert code == 2
    assert "RuntimeError: [$HF_TOKEN]" in said


def test_names_of_files(run, tmp_path):
    code, said = run("report", str(tmp_path / HUB))
    assert code == 2
    assert "[$HF_TOKEN]: holds no numbers yet" in said


def test_lines_of_the_log(capsys):
    console.info(f"fetching https://me:{CLOUD}@host/{HUB}")
    assert capsys.readouterr().out == "fetching https://[...]@host/[$HF_TOKEN]\n"


@pytest.mark.fault("a fault of ours with a token in its traceback", promise="the token is left out")
def test_a_fault_of_ours_keeps_them_too(tmp_path):
    """Its traceback, as Python prints it in a process of its own."""
    code = (
        "import os, sys\nfrom moral_jax.cli import main as cli\n"
        "def fault(*_): raise RuntimeError('sent ' + os.environ['HF_TOKEN'])\n"
        "from moral_jax.report import page\npage.write = fault\n"
        "sys.exit(cli.main(['report', 'x']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "RuntimeError: sent [$HF_TOKEN]" in done.stderr
    assert leaks(done.stdout + done.stderr) == []


def test_the_login_is_a_secret_too(monkeypatch, tmp_path, run):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    (tmp_path / "token").write_text(f"{HUB}\n")
    code, said = run("report", f"elsewhere/{HUB}")
    assert code == 2
    assert "elsewhere/[the Hugging Face login]" in said
    with pytest.raises(UserError, match="holds the value of the Hugging Face login"):
        parsing.from_flags([f"--config.model.path=owner/{HUB}"], file_needed=False)


def test_what_is_found_and_what_is_left(monkeypatch):
    monkeypatch.setenv("SHORT_KEY", "abc")
    monkeypatch.setenv("KEYBOARD", "a-long-layout-name")
    assert secrets.redacted("abc a-long-layout-name") == "abc a-long-layout-name"
    assert secrets.redacted(f"a{HUB}b") == "a[$HF_TOKEN]b"
    assert secrets.redacted("q8R%2Ft%2BWz4Kk%3D9sYv") == "[$AWS_SECRET_ACCESS_KEY]"  # as a URL has it
    assert secrets.found_in("http://host/a@b") is None
    with pytest.raises(UserError):
        parsing.from_flags([f"--config.prompt.answer_prefix={API}"], file_needed=False)


def test_a_secret_that_begins_another_leaves_nothing_of_it(monkeypatch):
    for first, second in (("ONE_KEY", "TWO_KEY"), ("TWO_KEY", "ONE_KEY")):
        monkeypatch.setenv(first, "qwertyuiop")
        monkeypatch.setenv(second, "qwertyuiop-and-more")
        assert secrets.redacted("a qwertyuiop-and-more, b qwertyuiop") == f"a [${second}], b [${first}]"


def test_a_hub_name_is_what_the_tests_take_it_for():
    assert source.is_hub_name("owner/model")
