"""Requests over HTTP, tried again where that helps; replies kept on disk. The key stays in the header it is sent in."""

import asyncio
import hashlib
import json
import math
import os
import random
import threading
import time
import urllib.parse
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx2

from moral_jax.types import UserError

AGAIN = {408, 409, 425, 429, 500, 502, 503, 504, 529}
FIRST_WAIT, LONGEST_WAIT, LONGEST_ASKED = 0.5, 60.0, 600.0  # seconds
LONGEST_REPLY = 8 * 2**20  # bytes; replies with 20 tokens have some 3,000
LOCAL = ("localhost", "127.0.0.1", "::1")


class Reply(NamedTuple):
    """What is read of an HTTP reply."""

    status: int
    text: str
    retry_after: str | None


class StoppedError(Exception):
    """Another request ended the run; this one is not wanted any more."""


def read_key(variable: str | None, default: str, url: str) -> str | None:
    """The key from an environment variable: one that is named must be set, the default may be missing.

    Raises:
      UserError: it is not set, cannot be a key, or would be sent readable by all. Never says what it is.
    """
    name = default if variable is None else variable
    key = os.environ.get(name, "").strip() if name else ""
    if not key:
        if variable:
            raise UserError(f"--api-key-env={variable}: this environment variable is not set, or empty")
        return None
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UserError(f"${name}: cannot be a key; expected printable ASCII characters without spaces")
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in LOCAL:
        raise UserError(
            f"--base-url={url}: would carry the key in ${name} unencrypted; use https, or --api-key-env= for no key"
        )
    return key


def retry_after(header: str | None) -> float | None:
    """Seconds that a Retry-After header asks for: a number of them, or a date. None where it makes no sense."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return None if math.isnan(seconds) else max(0.0, seconds)


class Client:
    """Sends requests to one URL. Used by several threads.

    An event loop in a thread of its own does the transfers: there a request can be ended at any point, where blocking
    reads are bounded one by one.
    """

    def __init__(self, url: str, key: str | None, timeout: float, retries: int):
        self.url, self.retries = url, retries
        self._timeout = timeout
        self._key = key
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx2.AsyncClient(headers=headers, timeout=timeout, limits=httpx2.Limits(max_connections=None))
        self._stopped = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Nothing more is sent, and all waits end; what is under way comes in."""
        self._stopped.set()

    def close(self) -> None:
        """Ends all connections."""
        asyncio.run_coroutine_threadsafe(self._http.aclose(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def post(self, body: dict[str, Any]) -> dict[str, Any]:
        """The reply to one request.

        Raises:
          UserError: the API refuses, or fails however often it is asked.
          StoppedError: `stop` was called.
        """
        trouble = ""
        for attempt in range(self.retries + 1):
            if self._stopped.is_set():
                raise StoppedError
            asked = None
            try:
                reply = self._send(body)
                found = self._without_key(json.loads(reply.text)) if reply.status == 200 else None
                if isinstance(found, dict):
                    return found
                trouble = "a reply that is no object" if reply.status == 200 else f"status {reply.status}"
                self._refused(reply)
                asked = retry_after(reply.retry_after)
            except httpx2.RequestError as e:  # cut, refused, too slow
                trouble = type(e).__name__
            except (ValueError, RecursionError):  # not JSON, not text, or nested without end
                trouble = "a reply that is not JSON"
            if attempt < self.retries:
                self._wait(attempt, asked)
        raise UserError(
            f"{self.url}: failed {self.retries + 1} times, at last with {trouble}; the same command goes on"
        )

    def _send(self, body: dict[str, Any]) -> Reply:
        """One request; the whole reply, headers and all, within the time limit."""
        try:
            reply = asyncio.wait_for(self._fetch(body), self._timeout)
            return asyncio.run_coroutine_threadsafe(reply, self._loop).result()
        except TimeoutError:
            raise httpx2.ReadTimeout("the reply trickles in") from None

    async def _fetch(self, body: dict[str, Any]) -> Reply:
        """One request; no more of a reply than one should have."""
        parts, size = [], 0
        async with self._http.stream("POST", self.url, json=body) as reply:
            async for part in reply.aiter_bytes():
                parts.append(part)
                size += len(part)
                if size > LONGEST_REPLY:
                    raise UserError(f"{self.url}: sent more than {LONGEST_REPLY} bytes for one token; check --base-url")
            text = b"".join(parts).decode("utf-8", "replace")
            return Reply(reply.status_code, text, reply.headers.get("retry-after"))

    def _without_key(self, found: Any) -> Any:
        """A reply in which the key, should the API say it, is left out: replies are kept."""
        if self._key is None:
            return found
        return json.loads(json.dumps(found).replace(json.dumps(self._key)[1:-1], "[key]"))

    def _wait(self, attempt: int, asked: float | None) -> None:
        """As long as the API asks, or twice as long each time; never all threads at once."""
        if asked is not None and asked > LONGEST_ASKED:
            raise UserError(f"{self.url}: asks to wait for {asked:.0f} s; the same command goes on later")
        seconds = min(FIRST_WAIT * 2**attempt, LONGEST_WAIT) * random.uniform(0.5, 1.0)
        if self._stopped.wait(seconds if asked is None else asked + random.uniform(0, FIRST_WAIT)):
            raise StoppedError

    def _refused(self, reply: Reply) -> None:
        """Raises for what asking again does not change."""
        status, said = reply.status, self._said(reply)
        if status in (401, 403):  # what the API says may hold parts of the key
            missing = "no key was sent" if self._key is None else "it does not accept the key"
            raise UserError(f"{self.url}: status {status}, {missing}; set the variable that --api-key-env names")
        if status == 404:
            raise UserError(f"{self.url}: no such model or address; check --base-url and --api-model ({said})")
        if status == 429 and "insufficient_quota" in reply.text:
            raise UserError(f"{self.url}: the account's quota is used up ({said})")
        if status != 200 and status not in AGAIN:
            raise UserError(f"{self.url}: refused the request with status {status} ({said})")

    def _said(self, reply: Reply) -> str:
        """The API's own words, short, and without the key or what would steer a terminal."""
        try:
            said = str(json.loads(reply.text)["error"]["message"])
        except (ValueError, KeyError, TypeError, RecursionError):
            said = reply.text
        said = " ".join(said.replace(self._key or "\0", "[key]").split())[:300]
        return "".join(c if c.isprintable() else "?" for c in said)


class Cache:
    """Values under the hash of a request: one small file each, whole or not there."""

    def __init__(self, folder: Path):
        self.folder = folder

    def _file(self, url: str, body: dict[str, Any]) -> Path:
        digest = hashlib.sha256(json.dumps([url, body], sort_keys=True).encode()).hexdigest()
        return self.folder / digest[:2] / f"{digest}.json"

    def get(self, url: str, body: dict[str, Any]) -> Any:
        """What was kept, or None."""
        try:
            return json.loads(self._file(url, body).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):  # a broken file is asked for again
            return None

    def put(self, url: str, body: dict[str, Any], value: Any) -> None:
        file = self._file(url, body)
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f"{file.name}.{os.getpid()}.{threading.get_ident()}")
        partial.write_text(json.dumps(value), encoding="utf-8")
        partial.replace(file)
