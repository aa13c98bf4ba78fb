"""Requests over HTTP, tried again where that helps; replies kept on disk. The key stays in the header it is sent in."""

import hashlib
import json
import os
import random
import threading
import time
import urllib.parse
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx2

from moral_jax.types import UserError

AGAIN = {408, 409, 425, 429, 500, 502, 503, 504, 529}
FIRST_WAIT, LONGEST_WAIT, LONGEST_ASKED = 0.5, 60.0, 600.0  # seconds
LOCAL = ("localhost", "127.0.0.1", "::1")


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


def check_url(url: str) -> str:
    """The base URL without a slash at its end.

    Raises:
      UserError: it is none, or holds more than a place.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        place = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        raise UserError("--base-url: cannot be read as a URL, such as https://api.openai.com/v1") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UserError("--base-url: holds a user, a password or a query, which would be written down; leave them out")
    if not place:
        raise UserError(f"--base-url={url}: expected http(s)://HOST/PATH, such as https://api.openai.com/v1")
    return url.rstrip("/")


def retry_after(header: str | None) -> float | None:
    """Seconds that a Retry-After header asks for: a number of them, or a date. None where it makes no sense."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None


class Client:
    """Sends requests to one URL. Used by several threads."""

    def __init__(self, url: str, key: str | None, timeout: float, retries: int):
        self.url, self.retries = url, retries
        self._key = key
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx2.Client(headers=headers, timeout=timeout, limits=httpx2.Limits(max_connections=None))
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Nothing more is sent, and all waits end; what is under way comes in."""
        self._stopped.set()

    def close(self) -> None:
        self._http.close()

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
                reply = self._http.post(self.url, json=body)
                if reply.status_code == 200 and isinstance(found := reply.json(), dict):
                    return found
                trouble = f"status {reply.status_code}" if reply.status_code != 200 else "a reply that is no object"
                self._refused(reply)
                asked = retry_after(reply.headers.get("retry-after"))
            except httpx2.RequestError as e:  # cut, refused, too slow
                trouble = type(e).__name__
            except ValueError:  # not JSON, or not text
                trouble = "a reply that is not JSON"
            if attempt < self.retries:
                self._wait(attempt, asked)
        raise UserError(
            f"{self.url}: failed {self.retries + 1} times, at last with {trouble}; the same command goes on"
        )

    def _wait(self, attempt: int, asked: float | None) -> None:
        """As long as the API asks, or twice as long each time; never all threads at once."""
        if asked is not None and asked > LONGEST_ASKED:
            raise UserError(f"{self.url}: asks to wait for {asked:.0f} s; the same command goes on later")
        seconds = min(FIRST_WAIT * 2**attempt, LONGEST_WAIT) * random.uniform(0.5, 1.0)
        if self._stopped.wait(seconds if asked is None else asked + random.uniform(0, FIRST_WAIT)):
            raise StoppedError

    def _refused(self, reply: httpx2.Response) -> None:
        """Raises for what asking again does not change."""
        status, said = reply.status_code, self._said(reply)
        if status in (401, 403):  # what the API says may hold parts of the key
            missing = "no key was sent" if self._key is None else "it does not accept the key"
            raise UserError(f"{self.url}: status {status}, {missing}; set the variable that --api-key-env names")
        if status == 404:
            raise UserError(f"{self.url}: no such model or address; check --base-url and --api-model ({said})")
        if status == 429 and "insufficient_quota" in reply.text:
            raise UserError(f"{self.url}: the account's quota is used up ({said})")
        if status != 200 and status not in AGAIN:
            raise UserError(f"{self.url}: refused the request with status {status} ({said})")

    def _said(self, reply: httpx2.Response) -> str:
        """The API's own words, short, and without the key."""
        try:
            said = str(reply.json()["error"]["message"])
        except (ValueError, KeyError, TypeError):
            said = reply.text
        return " ".join(said.replace(self._key or "\0", "[key]").split())[:300]


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
