"""Keys and tokens: found in what would be written down, and left out of what is said. No jax."""

import os
import re
import urllib.parse

NAMES = re.compile(r"(^|_)(API_?KEY|ACCESS_KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD)$", re.I)
SHORTEST = 8  # characters: what is shorter is no secret, and may be part of any word
IN_URL = re.compile(r"(?<=://)[^/\s@]+@")  # user and password


def _values() -> dict[str, str]:
    """Name -> value of the environment variables that hold a secret, the longest value first."""
    found = {name: value.strip() for name, value in os.environ.items() if NAMES.search(name)}
    held = {name: value for name, value in found.items() if len(value) >= SHORTEST}
    return dict(sorted(held.items(), key=lambda item: -len(item[1])))


def found_in(text: str) -> str | None:
    """What secret a text holds, in words; None if none is known."""
    for name, value in _values().items():
        if value in text:
            return f"the value of ${name}"
    return "a user or password before the host" if IN_URL.search(text) else None


def redacted(text: str) -> str:
    """The text with "[$NAME]" for every secret in it, plain or as a URL writes it."""
    for name, value in _values().items():
        for form in (value, urllib.parse.quote(value, safe="")):
            text = text.replace(form, f"[${name}]")
    return IN_URL.sub("[...]@", text)
