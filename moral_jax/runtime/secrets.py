"""Finds keys and tokens in text that would be saved, and redacts them in messages. No jax."""

import os
import re
import urllib.parse
from pathlib import Path

from moral_jax.types import UserError

NAMES = re.compile(r"(^|_)(API_?KEY|ACCESS_KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD)$", re.I)
SHORTEST = 8  # characters: a shorter value is not secret, and might be part of any word
LOGIN = "the Hugging Face login"
IN_URL = re.compile(r"(?<=://)[^/\s@]+@")  # user and password


def _login() -> str:
    """Returns the token saved by `hf auth login`, or an empty string."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    file = os.environ.get("HF_TOKEN_PATH") or f"{os.environ.get('HF_HOME') or f'{cache}/huggingface'}/token"
    try:
        return Path(os.path.expanduser(file)).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _values() -> dict[str, str]:
    """Returns {name: value} of the secrets in the environment and of the hub token, with the longest values first."""
    variables = {f"${name}": value.strip() for name, value in os.environ.items() if NAMES.search(name)}
    secrets = {name: value for name, value in ({LOGIN: _login()} | variables).items() if len(value) >= SHORTEST}
    return dict(sorted(secrets.items(), key=lambda item: -len(item[1])))


def found_in(text: str) -> str | None:
    """Returns a description of a secret in the text, or None if none is found."""
    for name, value in _values().items():
        if value in text or urllib.parse.quote(value, safe="") in text:
            return f"the value of {name}"
    return "a user or password before the host" if IN_URL.search(text) else None


def refuse(where: str, text: str) -> None:
    """Refuses a text that is going to be written down and holds a secret.

    Raises:
      UserError: names where it was found and what it is, never the value.
    """
    if held := found_in(text):
        raise UserError(f"{where}: holds {held}, which every run would write down; leave it out")


def redacted(text: str) -> str:
    """Returns the text with every secret, plain or URL-encoded, replaced by "[$NAME]".

    Users and passwords in URLs are replaced by "[...]".
    """
    for name, value in _values().items():
        for form in (value, urllib.parse.quote(value, safe="")):
            text = text.replace(form, f"[{name}]")
    return IN_URL.sub("[...]@", text)
