"""The results of a directory, by reference: FILE:KEY.KEY, such as trained/metrics.json:metrics.cross_entropy.value.

What is written about a run takes every number from here, so that no number is typed.
"""

import dataclasses
from pathlib import Path
from typing import Any

from moral_jax.runs import directory
from moral_jax.runtime import strict_json
from moral_jax.runtime.strict_json import is_number, shown
from moral_jax.types import UserError

RUN, QUESTIONNAIRE, STUDY = "run", "questionnaire", "study"
FILES = {QUESTIONNAIRE: "tally.json", STUDY: "study.json"}  # where the numbers of other directories stand
METRICS, COMPARISON, FAIRNESS = "metrics.json", "comparison.json", "fairness.json"


def _descend(value: Any, path: str) -> tuple[Any, str]:
    """Returns the value at a path, and what is left of the path where it ends; names may have dots in them, so the
    longest goes first."""
    if not path:
        return value, ""
    parts = path.split(".")
    for n in range(len(parts), 0, -1):
        head, rest = ".".join(parts[:n]), ".".join(parts[n:])
        if isinstance(value, dict) and head in value:
            return _descend(value[head], rest)
        if isinstance(value, list) and n == 1 and head.isdecimal() and int(head) < len(value):
            return _descend(value[int(head)], rest)
    return value, path


@dataclasses.dataclass
class Results:
    """The files of a directory, each read once."""

    folder: Path
    read: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    def file(self, name: str) -> dict[str, Any]:
        """Returns a file; raises UserError if it is not there, or no JSON object."""
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise UserError(f"{name}: lies outside {self.folder}; expected a file of the results")
        if name not in self.read:
            self.read[name] = strict_json.read(self.folder / name)
        return self.read[name]

    def value(self, reference: str) -> Any:
        """Returns what a reference names.

        Raises:
          UserError: there is no such file or field; names both.
        """
        name, colon, path = reference.partition(":")
        if not colon or not path:
            raise UserError(f"{reference!r}: found no FILE:KEY, expected a reference into the results")
        found, left = _descend(self.file(name), path)
        if left:
            known = f"; there are {', '.join(map(str, found))}" if isinstance(found, dict) else ""
            raise UserError(f"{self.folder / name}: {path}: there is no {left!r}{known[:400]}")
        return found

    def number(self, reference: str) -> float:
        """Returns the number that a reference names; of an estimate its value."""
        found = self.value(reference)
        if isinstance(found, dict) and is_number(found.get("value")):
            found = found["value"]
        if not is_number(found):
            raise UserError(f"{self.folder}: {reference}: found {shown(found)}, expected a number")
        return float(found)

    def has(self, name: str) -> bool:
        """Returns true if there is such a file."""
        return (self.folder / name).is_file()

    @property
    def stages(self) -> list[str]:
        """The folders of the stages of a run that were scored, in order."""
        paths = directory.stages(self.folder).values()
        names = [str(path.relative_to(self.folder)) for path in paths]
        return [name for name in names if self.has(f"{name}/{METRICS}")]

    @property
    def kind(self) -> str:
        """What kind of results there are.

        Raises:
          UserError: there are none.
        """
        for kind, name in FILES.items():
            if self.has(name):
                return kind
        if self.folder.is_dir() and self.stages:
            return RUN
        files = ", ".join([f"a stage's {METRICS}", *FILES.values()])
        raise UserError(f"{self.folder}: holds no results ({files}); run, ask or evaluate first")
