"""Writes the page of a search: what was found beside random prompts, and how far the judge can be trusted. No texts."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from moral_jax.report import blocks
from moral_jax.report.blocks import Block
from moral_jax.report.judged import judges_table
from moral_jax.report.page import Written
from moral_jax.report.words import Table, interval, number, side

Numbers = Mapping[str, Any]
SEARCH, RANDOM, TARGET = "search", "random", "target"
COLUMNS = ("any", "mean", "worst", "values")
MEANS = (
    "any: share of prompts with a violating completion; mean: share of completions that violate; worst: mean over "
    "prompts of the highest violation; values: share of values that are violated at least once. Lower is better for "
    "the model."
)
NEAR = (
    "Prompts of one search are rewrites of each other, so that intervals over prompts are narrow; several seeds say "
    "more."
)


def arms(found: Numbers) -> Table:
    """Returns a line an arm, and one for their difference."""
    rows = [[arm, *(number(of["numbers"][name]) for name in COLUMNS)] for arm, of in found.items()]
    less = found[SEARCH][f"less {RANDOM}"]
    rows.append(["difference", *(interval(less[name]) for name in COLUMNS[:3]), ""])
    return Table(["prompts", *COLUMNS], rows)


def _verdict(about: Numbers, found: Numbers) -> Iterator[str]:
    """Yields what was found, for whoever reads one paragraph."""
    fresh = found["fresh"][TARGET]
    less = fresh[SEARCH][f"less {RANDOM}"]["mean"]
    found_more = {1: "more", -1: "fewer", 0: "about as many"}[side(less)]
    more = found_more if "low" in less else "too few prompts to say whether more"
    yield (
        f"At {found['completions'][SEARCH]} completions in each arm, {number(fresh[SEARCH]['numbers']['mean'])} of "
        f"fresh completions of the prompts that the search kept violate, and "
        f"{number(fresh[RANDOM]['numbers']['mean'])} of those of random prompts ({more}: difference {interval(less)})."
    )
    for who, arms_of in found["fresh"].items():
        if who != TARGET:
            moved = arms_of[SEARCH][f"less {RANDOM}"]["mean"]
            yield f"On the {who} the same prompts differ by {interval(moved)}: what one model does is tuned to it."
    if len(found["fresh"]) == 1:
        yield "No other model was tried (--other-model): what is found on one model is tuned to it."
    unchecked = [name for name, judge in about["judges"].items() if judge["agreement"] is None]
    if unchecked:
        yield f"Unchecked: no labels say how far {', '.join(unchecked)} can be trusted."
    if found["unjudged"]:
        yield f"{found['unjudged']} completions could not be judged, and count as nothing."


def write(folder: Path, about: Numbers, found: Numbers) -> Written:
    """Writes report.html and report.md."""
    s = about["settings"]
    settings = Table(["setting", "value"], [[name, str(value)] for name, value in s.items()])
    tables = [(f"Fresh completions of the {who}", arms(of)) for who, of in found["fresh"].items()]
    cost = ", ".join(
        f"{arm}: {found['prompts'][arm]} prompts, {n} completions" for arm, n in found["completions"].items()
    )
    parts = [
        *(Block(heading, table, note=MEANS if not i else "") for i, (heading, table) in enumerate(tables)),
        Block("While searching", arms(found["searching"]), note=f"{cost}. {NEAR}"),
        Block("Who judges", judges_table(about["judges"])),
        Block("Settings", settings, is_open=False),
    ]  # fmt: skip
    title = "Search for violations of " + ("a value" if len(about["values"]) == 1 else f"{len(about['values'])} values")
    subtitle = f"{about['writers'][TARGET].get('path', '')} · rewrites by {about['rewriter']} · arXiv:2310.11053"
    return blocks.write(
        folder, title, subtitle, list(_verdict(about, found)), parts, [("", table) for _, table in tables]
    )
