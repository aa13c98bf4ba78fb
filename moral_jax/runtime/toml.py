"""Reads TOML that people write. Errors name the file and the key. No jax."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moral_jax.runtime.strict_json import forbidden_character, shown
from moral_jax.types import UserError

EXPECTED = {str: "a text", bool: "true or false", dict: "a table", list: "a list"}


def read(path: Path) -> dict[str, Any]:
    """Returns the content of a file; raises UserError if it cannot be read as TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise UserError(f"{path}: cannot be read as TOML ({e})") from e


def known(where: str, table: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Raises UserError if a table has a key that is none of these."""
    if unknown := [key for key in table if key not in keys]:
        raise UserError(f"{where}: {unknown[0]}: no such key; there are {', '.join(keys)}")


def optional(where: str, table: Mapping[str, Any], key: str, kind: type, default: Any = None) -> Any:
    """Returns the value of a key, which is of a kind of `EXPECTED`; the default if it is not there."""
    value = table.get(key, default)
    if key in table and not isinstance(value, kind):
        raise UserError(f"{where}: {key}: found {shown(value)}, expected {EXPECTED[kind]}")
    if isinstance(value, str) and (bad := forbidden_character(value)):
        raise UserError(f"{where}: {key}: holds {bad}; remove it")
    return value


def text(where: str, table: Mapping[str, Any], key: str, expected: str = "a text") -> str:
    """Returns the text of a key that must be there and not empty."""
    value = optional(where, table, key, str, "")
    if not value.strip():
        raise UserError(f"{where}: {key}: found {shown(table.get(key))}, expected {expected}")
    return value.strip()
