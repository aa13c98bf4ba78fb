"""Moral graphs that tests write, and making them as a person would."""

import contextlib
import json
from pathlib import Path
from typing import Any
from unittest import mock

from moral_jax.cli import main
from moral_jax.report import graph

_WITHOUT_PICTURES = mock.patch.multiple(graph, drawn=lambda *_: None, banded=lambda *_: None)
Rows = list[dict[str, Any]]
LETTER = {"W": "wiser", "N": "not_wiser", "U": "unsure"}


def lines(path: Path, rows: Rows) -> Path:
    """Writes a JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def cards(names: str, contexts: tuple[str, ...] = ()) -> Rows:
    """Returns a card for each letter; titles are as long as each other, so that no card is the longer one."""
    more = {"contexts": list(contexts)} if contexts else {}
    return [{"id": n, "title": f"Value {n}", "policies": [f"SIGNS of {n}", f"WAYS to {n}"]} | more for n in names]


def votes(said: dict[str, str], context: str = "at work") -> Rows:
    """Returns votes on pairs: {"ab": "WWU"} is three votes on going from a to b, by voters of their own."""
    return [
        {"voter": f"{pair}{i}", "from": pair[0], "to": pair[1], "context": context, "answer": LETTER[answer]}
        for pair, answers in said.items()
        for i, answer in enumerate(answers)
    ]


def make(
    folder: Path, of_votes: Rows | None, of_cards: Rows, *flags: str, resamples: int = 200, draws: bool = False
) -> dict[str, Any]:
    """Runs `moral-jax graph`, and returns graph.json; asserts that it went well.

    Args:
      draws: make the pictures of the page too, which take most of the time.
    """
    named = [str(lines(folder / "votes.jsonl", of_votes))] if of_votes is not None else []
    path = lines(folder / "cards.jsonl", of_cards)
    command = ["graph", *named, f"--cards={path}", f"--out={folder / 'out'}", f"--resamples={resamples}", *flags]
    with contextlib.nullcontext() if draws else _WITHOUT_PICTURES:
        assert main.main(command) == 0
    return json.loads((folder / "out" / "graph.json").read_text())["electorates"]


def values(found: dict[str, Any], kind: str = "pagerank") -> dict[str, float]:
    """Returns card -> value of a ranking of an electorate."""
    return {card: of[kind] if kind == "dropped" else of[kind]["value"] for card, of in found["rankings"].items()}
