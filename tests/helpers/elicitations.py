"""Elicitations that tests run as a person would, with planted utilities."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from moral_jax.cli import main
from moral_jax.report import elicitation

_WITHOUT_PICTURES = mock.patch.object(elicitation, "_pictures", return_value=[])


def options(path: Path, count: int, number: bool = False) -> Path:
    """Writes so many outcomes whose texts say nothing of their order; with `number`, each holds a number of its own."""
    words = np.random.default_rng(0).permutation(count)
    lines = [
        {"id": f"o{i}", "text": f"Place {'abcdefgh'[w % 8]}{'ijklmnop'[w // 8 % 8]}{w // 64} is {w + 1} miles away."}
        if number
        else {"id": f"o{i}", "text": f"Outcome {''.join('abcdefgh'[w // 8**k % 8] for k in range(3))} comes about."}
        for i, w in enumerate(words.tolist())
    ]
    return write(path, lines)


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    """Writes outcomes."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    """Returns the lines of a file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def planted(
    path: Path, outcomes: Path, values: Mapping[str, float] | None = None, seed: int = 1, scale: float = 1.7
) -> dict[str, float]:
    """Writes utilities for the agent `utility`, drawn or given by id, and returns them by id.

    Args:
      scale: of the agent's logits: 1.7 makes them nearly the standard deviations of Thurstone's model.
    """
    lines = read(outcomes)
    drawn = np.random.default_rng(seed).standard_normal(len(lines))
    values = values or {line["id"]: float(u) for line, u in zip(lines, drawn, strict=True)}
    path.write_text(json.dumps({line["text"]: scale * values[line["id"]] for line in lines}))
    return dict(values)


def elicit(outcomes: Path | str, out: Path, *flags: str, draws: bool = False) -> dict[str, Any]:
    """Runs `moral-jax elicit`, and returns tally.json; asserts that it went well.

    Args:
      draws: make the pictures of the page too.
    """
    with contextlib.nullcontext() if draws else _WITHOUT_PICTURES:
        assert main.main(["elicit", str(outcomes), f"--out={out}", "--resamples=20", *flags]) == 0
    return json.loads((out / "tally.json").read_text())


def cells(found: dict[str, Any], table: str, who: str | None = None) -> dict[str, dict[str, dict[str, Any]]]:
    """Returns row -> column -> cell of a table, of the first respondent or another."""
    return found["tables"].get(table, {"cells": {}})["cells"].get(who or found["respondents"][0], {})


def number(
    found: dict[str, Any], row: str, table: str = "Choices", column: str = "value", who: str | None = None
) -> float:
    """Returns the value of the one row of a table that begins with some words."""
    [of_row] = [of for name, of in cells(found, table, who).items() if name.startswith(row)]
    return of_row[column]["value"]


def utilities(found: dict[str, Any], outcomes: Path, who: str | None = None) -> np.ndarray:
    """Returns the utility of each outcome, in the order of the file."""
    known = cells(found, "Utilities", who)
    return np.array([known[line["text"]]["utility"]["value"] for line in read(outcomes)])
