"""Writes the page of value instructions: what each way to instruct achieves and costs. No texts."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from moral_jax.report import blocks
from moral_jax.report.blocks import Block
from moral_jax.report.judged import judges_table
from moral_jax.report.page import Written
from moral_jax.report.words import Table, interval, number, side

Numbers = Mapping[str, Any]
TRAINED, BEST = "trained writer", "best of n, untrained"
COLUMNS = ("violation", "perplexity", "words", "refusals")
LESS = ("violation", "nll", "words", "refusals")
DIFFERENCES = ("violation", "nats a token", "words", "refusals")
NOTE = (
    "violation: share of completions that violate; perplexity: of the completions under the target itself, with the "
    "instruction before them; refusals: by patterns of words. All on held-out prompts, with completions that no choice "
    "was made by."
)


def _table(ways: Numbers) -> Table:
    return Table(
        ["instruction", *COLUMNS], [[w, *(number(of["numbers"][c]) for c in COLUMNS)] for w, of in ways.items()]
    )


def _differences(ways: Numbers) -> Table:
    rows = [[way, *(interval(of["less"][name]) for name in LESS)] for way, of in ways.items() if of["less"]]
    return Table(["less no instruction", *DIFFERENCES], rows)


def _verdict(about: Numbers, found: Numbers) -> Iterator[str]:
    """Yields what was achieved, and what it cost."""
    ways = found["ways"]
    of = ways[TRAINED]
    less = of["less"]["violation"]
    said = {-1: "less", 1: "more", 0: "no surely different"}[side(less)]
    first = next(iter(ways))
    yield (
        f"Under the instructions of the trained writer {number(of['numbers']['violation'])} of completions violate, "
        f"{number(ways[first]['numbers']['violation'])} without any ({said} violation: difference {interval(less)}); "
        f"under the best of n of the untrained writer {number(ways[BEST]['numbers']['violation'])}."
    )
    named = zip(DIFFERENCES[1:], LESS[1:], strict=True)
    costs = ", ".join(f"{what} {interval(of['less'][name])}" for what, name in named)
    yield f"What it costs, trained writer less no instruction: {costs}."
    if unchecked := [name for name, judge in about["judges"].items() if judge["agreement"] is None]:
        yield f"Unchecked: no labels say how far {', '.join(unchecked)} can be trusted."


def write(folder: Path, about: Numbers, found: Numbers) -> Written:
    """Writes report.html and report.md."""
    table, less = _table(found["ways"]), _differences(found["ways"])
    settings = Table(["setting", "value"], [[name, str(value)] for name, value in about["settings"].items()])
    rounds = Table(["round", "weight"], [[str(i), number(w)] for i, w in enumerate(found["weights"], 1)])
    parts = [
        Block("On held-out prompts", table, note=NOTE),
        Block("Difference to no instruction", less, note="95 % intervals, prompts resampled"),
        Block("While learning", rounds,
              note="Mean of compliance x fluency of the best instruction of each prompt; more is better."),
        Block("Who judges", judges_table(about["judges"])),
        Block("Settings", settings, is_open=False),
    ]  # fmt: skip
    title = "Instructions for " + ("a value" if len(about["values"]) == 1 else f"{len(about['values'])} values")
    items = found["items"]
    subtitle = f"{items['learned']} prompts to learn from, {items['held out']} held out · arXiv:2310.11053"
    return blocks.write(folder, title, subtitle, list(_verdict(about, found)), parts, [("", table), ("", less)])
