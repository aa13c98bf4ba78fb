"""Keys and tokens: found in what would be written down, and left out of what is said. No jax."""

import os
import re
import urllib.parse
from pathlib import Path

NAMES = re.compile(r"(^|_)(API_?KEY|ACCESS_KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD)$", re.I)
SHORTEST = 8  # characters: what is shorter is no secret, and may be part of any word
LOGIN = "the Hugging Face login"
IN_URL = re.compile(r"(?<=://)[^/\s@]+@")  # user and password


def _login() -> str:
    """The token that `hf auth login` keeps; empty if there is none."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    file = os.environ.get("HF_TOKEN_PATH") or f"{os.environ.get('HF_HOME') or f'{cache}/huggingface'}/token"
    try:
        return Path(os.path.expanduser(file)).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _values() -> dict[str, str]:
    """Name -> value of what is secret: environment variables and the hub's token; the longest value first."""
    found = {LOGIN: _login()} | {f"${name}": value.strip() for name, value in os.environ.items() if NAMES.search(name)}
    held = {name: value for name, value in found.items() if len(value) >= SHORTEST}
    return dict(sorted(held.items(), key=lambda item: -len(item[1])))


def found_in(text: str) -> str | None:
    """What secret a text holds, in words; None if none is known."""
    for name, value in _values().items():
        if value in text:
            return f"the value of {name}"
    return "a user or password before the host" if IN_URL.search(text) else None


def redacted(text: str) -> str:
    """The text with "[$NAME]" for every secret in it, plain or as a URL writes it."""
    for name, value in _values().items():
        for form in (value, urllib.parse.quote(value, safe="")):
            text = text.replace(form, f"[{name}]")
    return IN_URL.sub("[...]@", text)
