"""An API on this machine that lists first tokens, and fails as told."""

import contextlib
import hashlib
import json
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "sk-secret-0123456789abcdef"


def likes(text: str) -> float:
    """A log-odds for A that depends on the prompt, so that orders differ."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:4], 16) / 0xFFFF * 4 - 2


def top(text: str) -> list[tuple[str, float]]:
    p = 0.9 / (1 + math.exp(-likes(text)))
    listed = {"A": p * 0.9, " A": p * 0.1, "B": 0.9 - p, "The": 0.05}
    return sorted(((t, math.log(q)) for t, q in listed.items()), key=lambda x: -x[1])


def chat(body: dict) -> dict:
    first = [{"token": t, "logprob": lp, "bytes": None} for t, lp in top(body["messages"][-1]["content"])]
    return {
        "model": "stub-2026",
        "system_fingerprint": "fp_1",
        "choices": [{"message": {"content": "A"}, "logprobs": {"content": [{**first[0], "top_logprobs": first}]}}],
        "usage": {"prompt_tokens": 50, "completion_tokens": 1},
    }


def completions(body: dict) -> dict:
    first = top(body["prompt"])
    return {
        "model": "stub-2026",
        "choices": [
            {"logprobs": {"tokens": [first[0][0]], "token_logprobs": [first[0][1]], "top_logprobs": [dict(first)]}}
        ],
    }


class Stub:
    """`faults` says what to do to a request: None answers it, a status or a name of a fault does not.

    It is called with the number of the request (from 0) and how often the same body came before.
    """

    def __init__(self, faults: Callable[[int, int], object]):
        self.faults, self.lock = faults, threading.Lock()
        self.bodies: list[dict] = []
        self.headers: list[dict] = []
        self.seen: Counter = Counter()
        self.at_once = self.most_at_once = 0

    def handler(stub) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None: ...

            def reply(self, status: int, text: str, headers: dict[str, str] | None = None, cut: int = 0) -> None:
                data = text.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data[: len(data) - cut])

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                body = json.loads(raw)
                with stub.lock:
                    number, before = len(stub.bodies), stub.seen[raw]
                    stub.seen[raw] += 1
                    stub.bodies.append(body)
                    stub.headers.append(dict(self.headers))
                    stub.at_once += 1
                    stub.most_at_once = max(stub.most_at_once, stub.at_once)
                try:
                    self.answer(body, stub.faults(number, before))
                finally:
                    with stub.lock:
                        stub.at_once -= 1

            def answer(self, body: dict, fault: object) -> None:
                good = json.dumps((chat if "messages" in body else completions)(body))
                error = json.dumps({"error": {"message": f"sorry, key {KEY} ...", "code": "some_code"}})
                if fault is None:
                    self.reply(200, good)
                elif isinstance(fault, tuple):
                    self.reply(fault[0], error, {"Retry-After": fault[1]})
                elif isinstance(fault, int):
                    self.reply(fault, error)
                elif fault == "quota":
                    self.reply(429, error.replace("some_code", "insufficient_quota"))
                elif fault == "no logprobs":
                    self.reply(200, json.dumps({"choices": [{"message": {"content": "A"}, "logprobs": None}]}))
                elif fault == "half":
                    self.reply(200, good, cut=len(good) // 2)
                    self.close_connection = True
                elif fault == "not json":
                    self.reply(200, "<html>busy</html>")
                elif fault == "a list":
                    self.reply(200, "[1]")
                else:  # cut: no reply at all
                    self.close_connection = True

        return Handler


@contextlib.contextmanager
def serve(faults: Callable[[int, int], object] = lambda number, before: None) -> Iterator[tuple[Stub, str]]:
    """The stub and its base URL."""
    stub = Stub(faults)
    server = ThreadingHTTPServer(("127.0.0.1", 0), stub.handler())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield stub, f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
