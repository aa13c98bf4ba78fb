"""What was asked of models and judges, and what they said: log.jsonl, a line each, in the order in which it was asked.

Who asks looks here first, so that a killed run goes on where it was, and a finished one can be replayed without
anybody who answers.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from moral_jax.runs import answers
from moral_jax.runtime import strict_json
from moral_jax.types import UserError

LOG = "log.jsonl"
BEGIN, STEP = "begin", "step"
Ask = Callable[[list[Any]], Sequence[Any]]  # those that are not known yet -> an answer each


def key_of(kind: str, asked: Any) -> str:
    """Returns what tells a question from all others."""
    return hashlib.sha256(json.dumps([kind, asked], sort_keys=True).encode()).hexdigest()[:24]


class Memory:
    """The log of a search."""

    def __init__(self, folder: Path, about: dict[str, Any] | None):
        """Reads what is known.

        Args:
          about: what is searched, and how; None: replay what the log says, and ask nobody.

        Raises:
          UserError: the log is of another search, there is none to replay, or it is damaged.
        """
        self.path, self.replays = folder / LOG, about is None
        answers.mend(self.path)
        lines = list(strict_json.read_lines(self.path)) if self.path.exists() else []
        if self.replays and not lines:
            raise UserError(f"{folder}: holds no {LOG} to replay")
        if not lines:
            assert about is not None, "asked above"
            answers.append(self.path, [{"kind": BEGIN, "about": about}])
            lines = list(strict_json.read_lines(self.path))
        self.about = self._begun(lines, about)
        self.known = {r["key"]: r["answer"] for _, r in lines if "key" in r}
        self.steps = [r["step"] for _, r in lines if r.get("kind") == STEP]
        self._at = 0

    def _begun(self, lines: list[tuple[str, dict[str, Any]]], about: dict[str, Any] | None) -> dict[str, Any]:
        where, first = lines[0]
        if first.get("kind") != BEGIN or not isinstance(first.get("about"), dict):
            raise UserError(f"{where}: does not say what was searched; the log is damaged, pass --out=ANOTHER")
        begun: dict[str, Any] = first["about"]
        if about is not None and begun != (now := json.loads(json.dumps(about))):
            other = next(name for name in {**begun, **now} if begun.get(name) != now.get(name))
            raise UserError(f"{self.path}: is of another search, with another {other}; pass --out=ANOTHER")
        return begun

    @contextlib.contextmanager
    def begun(self) -> Iterator[None]:
        """Forgets what is refused before its first step, so that the directory is free for another try."""
        try:
            yield
        except UserError:
            if not self.steps and not self.replays:
                self.path.unlink()
            raise

    def ask(self, kind: str, asked: Sequence[Any], answer: Ask) -> list[Any]:
        """Returns an answer to each question, asking those alone that are not in the log.

        Args:
          asked: questions, as JSON; equal ones have one answer.

        Raises:
          UserError: in a replay, for a question that the log does not know.
        """
        keys = [key_of(kind, one) for one in asked]
        new = {key: one for key, one in zip(keys, asked, strict=True) if key not in self.known}
        if new and self.replays:
            raise UserError(f"{self.path}: lacks an answer of {kind!r}; it was cut or changed, and cannot be replayed")
        if new:
            said = json.loads(json.dumps(list(answer(list(new.values())))))  # as it will be read again
            lines = [
                {"kind": kind, "key": key, "asked": one, "answer": value}
                for (key, one), value in zip(new.items(), said, strict=True)
            ]
            answers.append(self.path, lines)
            self.known |= {line["key"]: line["answer"] for line in lines}
        return [self.known[key] for key in keys]

    def step(self, **values: Any) -> None:
        """Writes what a step came to, unless the log has it.

        Raises:
          UserError: the log says otherwise, so that it or the code has changed.
        """
        now = json.loads(json.dumps(values))
        if self._at < len(self.steps):
            if self.steps[self._at] != now:
                raise UserError(
                    f"{self.path}: step {self._at + 1} comes to something else than it says; pass --out=ANOTHER"
                )
        else:
            answers.append(self.path, [{"kind": STEP, "step": now}])
            self.steps.append(now)
        self._at += 1
