"""Checks refusals of bad inputs: exit code 2, one message with place and remedy, in time, no files left behind."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from moral_jax.cli import main as cli

SECONDS = 20.0  # of one command; each takes far less on an idle machine
LONGEST = 2000  # characters of a message, which quotes the bad input only in part

BEGINNING = re.compile(r"^(\S+: )?error: ", re.M)  # argparse prints its own name first


class Case(NamedTuple):
    """One bad input of a reader."""

    name: str
    given: Any  # from which the test of the reader makes the input
    place: str  # in the message: file, line, key, field, flag
    remedy: str  # in the message: what is expected, or what to do


def each(cases: tuple[Case, ...]) -> pytest.MarkDecorator:
    """Returns a mark that runs a test once for every case."""
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def files_in(folder: Path) -> set[Path]:
    return {p for p in folder.rglob("*") if p.is_file()}


class Refusal:
    """Runs a command line in this process and checks how it ends."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]):
        self.folder, self.capsys = folder, capsys

    def __call__(
        self, case: Case, *arguments: str, run: Path | None = None, main: Callable[[list[str]], int] = cli.main
    ) -> str:
        """Runs the command and returns its message. New files may appear only below `run`."""
        before, began = files_in(self.folder), time.monotonic()
        self.capsys.readouterr()
        try:
            code = main(list(arguments))
        except SystemExit as e:  # argparse exits by itself
            code = e.code
        took, said = time.monotonic() - began, self.capsys.readouterr()
        assert code == 2, (code, said.err)
        assert "Traceback" not in said.out + said.err
        errors = list(BEGINNING.finditer(said.err))
        assert len(errors) == 1, said.err
        message = said.err[errors[0].start() :]
        assert len(message) <= LONGEST, message[:LONGEST]
        assert message.replace("\n", "").isprintable(), ascii(message)
        assert case.place in message, message
        assert case.remedy in message, message
        assert took < SECONDS, took
        new = files_in(self.folder) - before
        assert not [p for p in new if run is None or not p.is_relative_to(run)], new
        return message
