"""The whole way against a stub API: right numbers, a cache, retries, every error, and a key that stays secret."""

import json
import re
import time

import numpy as np
import pytest

from moral_jax.cli import main
from moral_jax.prompts import render
from moral_jax.respondents.api import client, cost, prompts, replies
from moral_jax.respondents.api.client import Cache, Client
from moral_jax.runs.records import read_jsonl
from moral_jax.runtime import console
from moral_jax.types import UserError
from tests.respondents.api_stub import KEY, serve, top

CONFIG = """
from moral_jax import config

def get_config():
    c = config.default()
    c.task.name = "synthetic"
    c.task.limit = 4
    c.eval.bootstrap = 100
    c.eval.best_draws = 10
    return c
"""
REQUESTS = 2 * 2 * 4  # splits, orders, rows


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """An own cache, the key in its variable, no time lost in waiting."""
    monkeypatch.setenv("MORAL_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(client, "FIRST_WAIT", 0.001)
    (tmp_path / "c.py").write_text(CONFIG)


@pytest.fixture
def api(tmp_path, capsys):
    """Runs the command; returns its exit code and what it printed."""

    def run(url, *more, workdir="run"):
        code = main.main(["api", f"--config={tmp_path / 'c.py'}", f"--base-url={url}", "--api-model=stub",
                         f"--workdir={tmp_path / workdir}", "--concurrency=3", *more])  # fmt: skip
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return run


def everything_written(folder):
    return b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file())


def test_records_are_what_the_api_said(api, tmp_path):
    with serve() as (stub, url):
        code, shown = api(url, "--yes")
    assert code == 0, shown
    assert len(stub.bodies) == REQUESTS
    assert stub.most_at_once <= 3
    body = stub.bodies[0]
    assert {k: body[k] for k in ("model", "max_tokens", "temperature", "logprobs", "top_logprobs")} == {
        "model": "stub", "max_tokens": 1, "temperature": 1, "logprobs": True, "top_logprobs": 20,
    }  # fmt: skip
    by_prompt = {b["messages"][-1]["content"]: b for b in stub.bodies}
    for r in read_jsonl(tmp_path / "run" / "answers" / "test.jsonl"):
        assert [o["order"] for o in r["orders"]] == [[0, 1], [1, 0]]
        for o in r["orders"]:
            first, second = (r["options"][i] for i in o["order"])
            [prompt] = [p for p in by_prompt if f"A. {first}\nB. {second}" in p]
            assert prompt.endswith("\n\nReply with A or B alone.")
            p = dict(top(prompt))
            p = {t: np.exp(x) for t, x in p.items()}
            a, b = p["A"] + p[" A"], p["B"]
            want = np.array([a, b])[o["order"]] / (a + b)  # order is its own inverse
            np.testing.assert_allclose(o["probabilities"], want)
            assert np.exp(o["log_mass"]) == pytest.approx(0.9)
        np.testing.assert_allclose(r["probabilities"], np.mean([o["probabilities"] for o in r["orders"]], axis=0))
        assert (np.array(r["low"]) < r["probabilities"]).all()
        assert (np.array(r["high"]) > r["probabilities"]).all()
        assert r["missing_mass"] == pytest.approx(0.05)
        assert r["concentration"] == pytest.approx(2.0)
    provenance = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert provenance["model"]["answered as"] == ["stub-2026"]
    assert provenance["model"]["prompt tokens"] == 50 * REQUESTS
    assert "The API lists only the likeliest tokens" in (tmp_path / "run" / "report.html").read_text()
    assert "bounds" in json.loads((tmp_path / "run" / "answers" / "metrics.json").read_text())


def test_what_was_asked_once_is_free(api, tmp_path):
    with serve() as (stub, url):
        assert api(url, "--yes")[0] == 0
        first = (tmp_path / "run" / "answers" / "test.jsonl").read_bytes()
        code, shown = api(url, workdir="again")  # nobody says yes, and nobody has to
        assert code == 0, shown
        assert f"{REQUESTS} replies are there; 0 requests" in shown
        assert (tmp_path / "again" / "answers" / "test.jsonl").read_bytes() == first
        assert len(stub.bodies) == REQUESTS
        assert api(url, "--yes", "--top-logprobs=5", workdir="other")[0] == 0
        assert len(stub.bodies) == 2 * REQUESTS  # another question


def test_ctrl_c_keeps_what_came(api, tmp_path, monkeypatch):
    def interrupted(stream, **_):
        for number, one in enumerate(stream):
            if number == 5:
                raise KeyboardInterrupt
            yield one

    with serve() as (stub, url), monkeypatch.context() as patch:
        patch.setattr(console, "progress", interrupted)
        code, shown = api(url, "--yes")
        assert code == 130
        sent = len(stub.bodies)
        assert 5 <= sent < REQUESTS
        assert not (tmp_path / "run" / "answers").exists()
        patch.undo()
        monkeypatch.setenv("MORAL_JAX_CACHE", str(tmp_path / "cache"))
        assert api(url, "--yes")[0] == 0
        assert len(stub.bodies) == REQUESTS


FAULTS = (429, 500, 503, "cut", "half", "not json", "a list", (429, "0.01"))


def test_troubles_that_pass_are_waited_out(api):
    with serve(lambda number, before: FAULTS[number % len(FAULTS)] if before < 2 else None) as (stub, url):
        code, shown = api(url, "--yes")
    assert code == 0, shown
    assert len(stub.bodies) == 3 * REQUESTS


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (401, r"status 401, it does not accept the key; set the variable that --api-key-env names"),
        (403, "status 403"),
        (404, r"no such model or address; check --base-url and --api-model"),
        (400, r"row 'synthetic-\d+': .*refused the request with status 400 \(sorry, key \[key\] \.\.\.\)"),
        (302, "status 302"),
        (429, "failed 3 times, at last with status 429; the same command goes on"),
        (500, "failed 3 times, at last with status 500"),
        ("cut", "failed 3 times, at last with RemoteProtocolError"),
        ("not json", "failed 3 times, at last with a reply that is not JSON"),
        ("quota", "the account's quota is used up"),
        ("no logprobs", "the reply holds no log-probabilities"),
        ((429, "9999"), "asks to wait for 9999 s"),
    ],
)
def test_troubles_that_stay_are_named_and_the_key_is_not(api, tmp_path, fault, message):
    with serve(lambda number, before: fault) as (stub, url):
        code, shown = api(url, "--yes", "--retries=2")
    assert code == 2
    assert re.search(message, shown), shown
    assert KEY not in shown
    assert len(stub.bodies) <= 3 * 3  # the other threads stop
    assert KEY.encode() not in everything_written(tmp_path)


def test_nobody_there(api):
    with serve() as (_, url):
        pass
    code, shown = api(url, "--yes", "--retries=1")
    assert code == 2
    assert "failed 2 times, at last with ConnectError" in shown


def test_the_key_is_sent_and_never_written(api, tmp_path, monkeypatch):
    monkeypatch.setenv("OTHER", "sk-other")
    with serve() as (stub, url):
        assert api(url, "--yes")[0] == 0
        assert {h["Authorization"] for h in stub.headers} == {f"Bearer {KEY}"}
        assert KEY.encode() not in everything_written(tmp_path)
        stub.headers.clear()
        assert api(url, "--yes", "--top-logprobs=7", "--api-key-env=OTHER", workdir="b")[0] == 0
        assert {h["Authorization"] for h in stub.headers} == {"Bearer sk-other"}
        stub.headers.clear()
        assert api(url, "--yes", "--top-logprobs=8", "--api-key-env=", workdir="c")[0] == 0
        assert not any("Authorization" in h for h in stub.headers)


@pytest.mark.parametrize(
    ("url", "variable", "value", "message"),
    [
        ("https://x/v1", "NOT_SET", None, "NOT_SET: this environment variable is not set"),
        ("https://x/v1", "BAD", "sk-a\nInjected: b", r"\$BAD: cannot be a key"),
        ("http://example.org/v1", "GOOD", "sk-good", r"would carry the key in \$GOOD unencrypted"),
        ("https://user:pw@x/v1", "GOOD", "sk-good", "base_url: holds a user or password|a user, a password or a query"),
        ("https://x/v1?key=sk-good", "GOOD", "sk-good", "a user, a password or a query"),
        ("http://user:pw@example.org/v1", "GOOD", "sk-good", "base_url: holds|a user, a password or a query"),
        ("ftp://x", "GOOD", "sk-good", "expected http"),
        ("https://x:port/v1", "GOOD", "sk-good", "cannot be read as a URL"),
    ],
)
def test_keys_and_urls_that_are_refused(api, monkeypatch, url, variable, value, message):
    if value:
        monkeypatch.setenv(variable, value)
    code, shown = api(url, "--yes", f"--api-key-env={variable}")
    assert code == 2
    assert re.search(message, shown), shown
    assert not (value and value in shown.replace(url, ""))
    assert "pw" not in shown


def test_nothing_is_sent_before_somebody_agrees(api, tmp_path):
    with serve() as (stub, url):
        code, shown = api(url)
        assert code == 2
        assert re.search(rf"{REQUESTS} requests, about [\d,]+ tokens in and {REQUESTS} out; with --price-in", shown)
        assert "pass --yes" in shown
        assert "needs --price-in and --price-out" in api(url, "--max-cost=1")[1]
        prices = ("--price-in=1e6", "--price-out=1e6")  # one each
        assert "is above --max-cost=1; nothing was sent" in api(url, "--max-cost=1", *prices)[1]
        assert not stub.bodies
        assert not (tmp_path / "run").exists()
        assert api(url, "--max-cost=100000", *prices)[0] == 0


def test_the_estimate_by_hand():
    body = {"prompt": "x" * (400 - len('{"prompt": ""}'))}
    said, money = cost.estimate([body] * 10, cost.Budget(2.5, 10.0, None, False))
    assert cost.tokens(body) == 101
    assert money == pytest.approx(10 * (101 * 2.5 + 10.0) / 1e6)
    assert said.startswith("10 requests, about 1,010 tokens in and 10 out: about ")


def test_completions_get_text_with_the_cue(api, tmp_path):
    with serve() as (stub, url):
        code, shown = api(url, "--yes", "--endpoint=completions", "--config.prompt.format=plain")
    assert code == 0, shown
    assert all(b["prompt"].endswith("\nAnswer:") and b["logprobs"] == 20 for b in stub.bodies)
    assert read_jsonl(tmp_path / "run" / "answers" / "test.jsonl")[0]["option_mass"] == pytest.approx(0.9)


def test_the_studys_prompt_is_one_message():
    from moral_jax.config.task import PromptConfig
    from moral_jax.tasks import synthetic

    example = synthetic.examples()[0]
    question = prompts.make(PromptConfig(format="paper"), "dilemmas", "chat")(example, (1, 0))
    text = render.paper(PromptConfig(format="paper"), "dilemmas")(example, (1, 0)).text
    assert question.body == {"messages": [{"role": "user", "content": text}]}
    assert question.answers == (("Yes", "yes"), ("No", "no"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.prompt.format=plain"], "not for --endpoint=chat; pass --config.prompt.format=chat"),
        (["--endpoint=completions"], "pass --config.prompt.format=plain"),
        (["--config.prompt.answer_prefix=Verdict:"], "a chat endpoint cannot begin the model's answer"),
        (["--config.task.validation=0", "--config.task.test=0"], "nothing to score"),
        (["--concurrency=0"], "config.respondent.concurrency=0: expected at least 1"),
        (["--timeout=0"], "config.respondent.timeout=0.0: expected a positive"),
    ],
)
def test_mistakes_are_named(api, arguments, message):
    code, shown = api("http://127.0.0.1:9/v1", "--yes", *arguments)
    assert code == 2
    assert message in shown


def waits(monkeypatch, faults, retries=6):
    """How long a client waited between its attempts."""
    out = []
    with serve(faults) as (_, url):
        one = Client(f"{url}/chat/completions", None, 5, retries)
        monkeypatch.setattr(one._stopped, "wait", lambda seconds: out.append(seconds))
        try:
            one.post({"messages": [{"content": "x"}]})
        except UserError:
            pass
        finally:
            one.close()
    return out


def test_waits_double_and_differ(monkeypatch):
    monkeypatch.setattr(client, "FIRST_WAIT", 0.5)
    got = waits(monkeypatch, lambda number, before: 500, retries=9)
    most = [min(0.5 * 2**i, 60) for i in range(9)]
    assert all(m / 2 <= w <= m for w, m in zip(got, most, strict=True)), got
    assert len({w / m for w, m in zip(got, most, strict=True)}) == 9


def test_retry_after_is_honoured(monkeypatch):
    [wait] = waits(monkeypatch, lambda number, before: (429, "7.5") if before == 0 else None)
    assert 7.5 <= wait <= 7.6
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 30))
    [wait] = waits(monkeypatch, lambda number, before: (503, date) if before == 0 else None)
    assert 28 <= wait <= 31
    assert client.retry_after("soon") is None
    assert client.retry_after("-3") == 0


def test_a_broken_file_in_the_cache_is_asked_for_again(tmp_path):
    cache = Cache(tmp_path)
    cache.put("u", {"a": 1, "b": 2}, [1])
    assert cache.get("u", {"b": 2, "a": 1}) == [1]
    assert cache.get("v", {"a": 1, "b": 2}) is None
    [file] = tmp_path.rglob("*.json")
    file.write_text("{")
    assert cache.get("u", {"a": 1, "b": 2}) is None


def test_a_label_per_option():
    assert prompts.instruction((("A",), ("B",), ("C",))) == "Reply with A, B or C alone."
    assert replies.TOP.keys() == prompts.ENDPOINTS.keys()
