"""Reads data.toml: what somebody declares about the rows beside it.

    name = "Votes of our panel"
    version = "2026-03"                  # or sha256 = "..."
    licence = "CC-BY-4.0"                # an SPDX expression, LicenseRef-NAME, NONE or NOASSERTION
    source = "https://example.org/panel"
    citation = "Panel team (2026)"
    use = "train"                        # train, test or example
    personal_data = false
    collected = "Web form, paid by the hour, consent by click"

    [files."held_out.jsonl"]             # what differs for one file
    use = "test"

A data.toml speaks for all files of its folder.
"""

from pathlib import Path
from typing import Any, NamedTuple

from moral_jax.runtime import toml
from moral_jax.runtime.files import sha256
from moral_jax.runtime.strict_json import shown
from moral_jax.types import UserError

FILE = "data.toml"
USES = ("train", "test", "example")
KEYS = ("name", "version", "sha256", "licence", "source", "citation", "use", "personal_data", "collected")
VERSIONS = {"version", "sha256"}
NEEDED = ("name", "licence", "source", "use", "collected")


class Declared(NamedTuple):
    """What is declared about a set of rows."""

    where: str  # the file that says so, and which table of it
    name: str
    version: str  # or the SHA-256 of the rows
    licence: str
    source: str
    citation: str
    use: str
    personal_data: bool
    collected: str

    def as_json(self) -> dict[str, Any]:
        """Returns it as a run records it."""
        return self._asdict()


def _table(where: str, table: dict[str, Any]) -> Declared:
    toml.known(where, table, KEYS)
    expected = {
        "licence": 'an SPDX expression such as "CC-BY-4.0", or "NOASSERTION" if nobody has said it',
        "use": f"one of {', '.join(USES)}",
    }
    texts = {key: toml.text(where, table, key, expected.get(key, "a text")) for key in NEEDED}
    if texts["use"] not in USES:
        raise UserError(f"{where}: use: found {shown(texts['use'])}, expected {expected['use']}")
    if "personal_data" not in table:
        raise UserError(f"{where}: personal_data: is not there, expected true or false")
    if ("version" in table) == ("sha256" in table):
        raise UserError(f"{where}: version: expected version, a name of this state of the rows, or sha256; not both")
    version = toml.text(where, table, "version" if "version" in table else "sha256")
    personal = toml.optional(where, table, "personal_data", bool)
    citation = toml.optional(where, table, "citation", str, "")
    return Declared(where, version=version, citation=citation, personal_data=personal, **texts)


def read(path: Path, name: str | None = None) -> Declared:
    """Reads what a data.toml declares.

    Args:
      name: of a file of rows: a table [files."NAME"] says what differs for it.

    Raises:
      UserError: a key is missing, unknown or of another kind; names file and key.
    """
    values = toml.read(path)
    files = toml.optional(str(path), values, "files", dict, {})
    common = {key: value for key, value in values.items() if key != "files"}
    own: dict[str, Declared] = {}
    for file, table in files.items():
        where = f'{path}: [files."{file}"]'
        if not isinstance(table, dict):
            raise UserError(f"{where}: found {shown(table)}, expected a table")
        of_all = {k: v for k, v in common.items() if not (k in VERSIONS and table.keys() & VERSIONS)}
        own[file] = _table(where, of_all | table)
    return own[name] if name in own else _table(str(path), common)


def beside(path: Path) -> Declared | None:
    """Returns what is declared about a file or a folder of rows; None if no data.toml is there.

    Raises:
      UserError: as of `read`, or the SHA-256 that is declared is not that of the file.
    """
    file = (path if path.is_dir() else path.parent) / FILE
    if not file.is_file():
        return None
    found = read(file, path.name)
    check_hash(found, path)
    return found


def check_hash(found: Declared, path: Path) -> None:
    """Raises UserError if a SHA-256 is declared that is not that of the file."""
    is_hash = len(found.version) == 64 and not set(found.version.lower()) - set("0123456789abcdef")
    if is_hash and path.is_file() and sha256(path) != found.version.lower():
        raise UserError(f"{found.where}: sha256: {found.version} is not that of {path}, which is {sha256(path)}")
