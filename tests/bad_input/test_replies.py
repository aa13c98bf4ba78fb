"""Tests replies of APIs, sent byte by byte from a server on this machine."""

import contextlib
import gzip
import json
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from moral_jax.respondents.api import client
from moral_jax.types import UserError
from tests.bad_input.refusal import Case, each
from tests.respondents import api_stub as stub

KEY = stub.KEY


def reply(**changes):
    return json.dumps(stub.chat({"messages": [{"content": "x"}]}) | changes).encode()


def first(**changes):
    one = {"token": "A", "logprob": -0.1} | {k: v for k, v in changes.items() if k != "top_logprobs"}
    return reply(choices=[{"logprobs": {"content": [one | {"top_logprobs": [dict(one)]} | changes]}}])


def listed(*pairs):
    top = [{"token": token, "logprob": logprob} for token, logprob in pairs]
    return reply(choices=[{"logprobs": {"content": [top[0] | {"top_logprobs": top}]}}])


NO_NUMBERS = "holds no log-probabilities"
BODIES = (
    Case("nothing", b"", "a reply that is not JSON", "the same command goes on"),
    Case("a page", b"<html>busy</html>", "a reply that is not JSON", "the same command goes on"),
    Case("half", reply()[:-30], "a reply that is not JSON", "the same command goes on"),
    Case("a list", b"[1]", "a reply that is no object", "the same command goes on"),
    Case("null", b"null", "a reply that is no object", "the same command goes on"),
    Case("bytes that are no text", b"\xff\xfe\xfd", "a reply that is not JSON", "the same command goes on"),
    Case("nested 100,000 deep", b'{"a":' * 100_000, "a reply that is not JSON", "the same command goes on"),
    Case("a number of 10,000 digits", b'{"a": ' + b"1" * 10_000 + b"}", "a reply that is not JSON", "goes on"),
    Case("9 MB", b" " * 9_000_000, "sent more than 8388608 bytes", "check --base-url"),
    Case("no choices", reply(choices=[]), NO_NUMBERS, "take a model and an endpoint that give them"),
    Case("choices by name", reply(choices={"0": 1}), NO_NUMBERS, "take a model"),
    Case("choices in words", reply(choices="A"), NO_NUMBERS, "take a model"),
    Case("no numbers", reply(choices=[{"logprobs": None}]), NO_NUMBERS, "take a model"),
    Case("no tokens", reply(choices=[{"logprobs": {"content": []}}]), NO_NUMBERS, "take a model"),
    Case("a number that is none", first(logprob=float("nan")), NO_NUMBERS, "take a model"),
    Case("a probability above one", first(logprob=3.0), NO_NUMBERS, "take a model"),
    Case("a number that is false", first(logprob=False), NO_NUMBERS, "take a model"),
    Case("a number in quotes", first(logprob="-0.1"), NO_NUMBERS, "take a model"),
    Case("a sum of three", listed(("A", 0.0), ("B", 0.0), ("C", 0.0)), "their sum is 3", "take another endpoint"),
    Case("a token twice", listed(("A", -2.0), ("A", -2.0)), "'A' is listed twice", "take another endpoint"),
    Case("a number in words", first(logprob="high"), NO_NUMBERS, "take a model"),
    Case("a token that is a list", first(token=["A"]), NO_NUMBERS, "take a model"),
    Case("listed tokens by name", first(top_logprobs={"A": -0.1}), NO_NUMBERS, "take a model"),
    Case("listed tokens in numbers", first(top_logprobs=[1, 2]), NO_NUMBERS, "take a model"),
    Case("a number beyond float64", first(logprob=10**400), NO_NUMBERS, "take a model"),
    Case("usage that is a list", reply(usage=[1]), NO_NUMBERS, "take a model"),
    Case("usage in words", reply(usage={"prompt_tokens": "many"}), NO_NUMBERS, "take a model"),
    Case("infinite usage", reply(usage={"prompt_tokens": float("inf")}), NO_NUMBERS, "take a model"),
)
STATUSES = (
    Case("a redirect", (302, b"", {"Location": "http://127.0.0.1:1/"}), "status 302", "refused the request"),
    Case(
        "the key echoed",
        (400, json.dumps({"error": {"message": f"bad key {KEY}"}}).encode(), {}),
        "bad key [key]",
        "400",
    ),
    Case("a terminal steered", (400, b"\x1b]0;owned\x07\x1b[2J", {}), "status 400", "?]0;owned??[2J"),
    Case("an error of 10 kB", (400, b"x" * 10_000, {}), "status 400", "refused the request"),
    Case("an error that is a list", (400, b'{"error": [1]}', {}), "status 400", "refused the request"),
    Case("an error nested 100,000 deep", (400, b"[" * 100_000, {}), "status 400", "refused the request"),
    Case("a wait that is no number", (429, b"", {"Retry-After": "nan"}), "status 429", "the same command goes on"),
    Case("a wait without end", (429, b"", {"Retry-After": "inf"}), "asks to wait", "the same command goes on later"),
    Case("a wait of 1e999 s", (503, b"", {"Retry-After": "1e999"}), "asks to wait", "the same command goes on later"),
    Case(
        "a bomb", (200, gzip.compress(b" " * 50_000_000), {"Content-Encoding": "gzip"}), "sent more than", "--base-url"
    ),
    Case(
        "packed, it says",
        (200, b"not packed", {"Content-Encoding": "gzip"}),
        "failed 2 times",
        "the same command goes on",
    ),
)
FLAGS = (
    Case("no URL", ["--base-url=nowhere"], "--base-url=nowhere", "http(s)://HOST/PATH"),
    Case("a file", ["--base-url=file:///etc/passwd"], "--base-url=file:///etc/passwd", "http(s)://HOST/PATH"),
    Case("a port in words", ["--base-url=http://h:x/"], "--base-url", "such as https://"),
    Case("half an address", ["--base-url=http://[::1/"], "--base-url", "such as https://"),
    Case(
        "a password",
        ["--base-url=https://me:hunter22@h/v1"],
        "--base-url: holds a user",
        "leave them out",
    ),
    Case("a key in a query", ["--base-url=https://h/v1?key=hunter22"], "--base-url: holds", "leave them out"),
    Case("a key unencrypted", ["--base-url=http://example.org/v1"], "$OPENAI_API_KEY", "use https"),
    Case(
        "a key for a model",
        [f"--api-model={KEY}"],
        "respondent.name: holds the value of $OPENAI_API_KEY",
        "leave it out",
    ),
    Case("time without end", ["--timeout=inf"], "respondent.timeout=inf", "a finite number"),
    Case("time that is none", ["--timeout=nan"], "respondent.timeout=nan", "a finite number"),
    Case("nobody asks", ["--concurrency=0"], "respondent.concurrency=0", "at least 1"),
    Case("retries below zero", ["--retries=-1"], "respondent.retries=-1", "zero or more"),
    Case(
        "a limit that is none", ["--max-cost=nan", "--price-in=1", "--price-out=1"], "--max-cost=nan", "a finite number"
    ),
    Case(
        "a price that is none", ["--max-cost=1", "--price-in=nan", "--price-out=1"], "--price-in=nan", "a finite number"
    ),
    Case("a price below zero", ["--max-cost=1", "--price-in=-1", "--price-out=1"], "--price-in=-1", "zero or more"),
    Case("a variable that is not set", ["--api-key-env=NO_SUCH_KEY"], "--api-key-env=NO_SUCH_KEY", "is not set"),
)
CASES = BODIES + STATUSES + FLAGS


@contextlib.contextmanager
def serving(status, body, headers, drip=0.0):
    """Serves one reply to every request, with `drip` seconds between bytes."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_): ...

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):  # the client has gone
                for at in range(len(body)) if drip else ():
                    self.wfile.write(body[at : at + 1])
                    time.sleep(drip)
                if not drip:
                    self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def ask(refused, config_of, tmp_path, monkeypatch):
    """Runs `moral-jax api`."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(client, "FIRST_WAIT", 0.001)
    config = config_of("synthetic")

    def run(case, *flags):
        given = ["--api-model=m", "--yes", "--retries=1", "--concurrency=1", "--config.task.limit=1", *flags]
        message = refused(case, "api", config, *given, f"--workdir={tmp_path / 'r'}", run=tmp_path / "r")
        assert KEY not in message
        return message

    return run


@pytest.mark.fault(
    "an API that answers nonsense, without end, or with the key", promise="one message; the key in no file"
)
@each(BODIES)
def test_bodies(case, ask):
    with serving(200, case.given, {}) as url:
        ask(case, f"--base-url={url}")


@each(STATUSES)
def test_statuses(case, ask):
    with serving(*case.given) as url:
        ask(case, f"--base-url={url}")


@each(FLAGS)
def test_flags(case, ask):
    with serving(200, reply(), {}) as url:
        ask(case, *([] if any(f.startswith("--base-url") for f in case.given) else [f"--base-url={url}"]), *case.given)


def test_a_reply_that_trickles_in_is_given_up(ask):
    case = Case("", None, "failed 2 times, at last with ReadTimeout", "the same command goes on")
    with serving(200, reply(), {}, drip=0.05) as url:
        ask(case, f"--base-url={url}", "--timeout=0.2")


@contextlib.contextmanager
def sending(beginning, again):
    """Answers everything with the beginning of a reply, and then goes on without end."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.recv(65536)
            with contextlib.suppress(OSError):  # who asked has gone
                self.request.sendall(beginning)
                while True:
                    self.request.sendall(again)
                    time.sleep(0.02)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()


@pytest.mark.parametrize(
    ("beginning", "again"),
    [(b"HTTP/1.1 200 OK\r\nX-A: ", b"a"), (b"", b"HTTP/1.1 100 Continue\r\n\r\n"), (b"", b"")],
    ids=["a header", "continue", "nothing"],
)
@pytest.mark.fault(
    "an API whose headers never end, or that says nothing", promise="given up at the time limit, and named"
)
def test_a_reply_whose_headers_never_end_is_given_up(beginning, again):
    with sending(beginning, again) as url, contextlib.closing(client.Client(url, None, timeout=0.2, retries=0)) as one:
        began = time.monotonic()
        with pytest.raises(UserError, match="failed 1 times, at last with ReadTimeout"):
            one.post({})
        assert time.monotonic() - began < 5


def test_names_that_cannot_be_written_down_are_mended():
    from moral_jax.respondents.api import replies

    got = replies.parse(json.loads(reply(model="m\ud800" + "x" * 1000, system_fingerprint=["f"])), "chat")
    assert got.model == "m?" + "x" * 198
    got.model.encode()
