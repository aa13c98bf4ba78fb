"""Writes a page of blocks: the answer first, then tables, pictures and texts, each with a heading."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from moral_jax.report.page import Written, environment
from moral_jax.report.words import Table, inert, markdown
from moral_jax.runtime.strict_json import visible


class Block(NamedTuple):
    """A part of a page; what is empty is left out."""

    heading: str
    table: Table | None = None
    note: str = ""  # below it, how to read it
    pictures: tuple[tuple[str | None, str], ...] = ()  # SVG and caption of each; those that are None are left out
    text: str = ""  # shown as it is
    is_open: bool = True  # shown without a click
    wraps: bool = False  # cells are texts that may take several lines


def write(
    folder: Path, title: str, subtitle: str, verdict: Sequence[str], blocks: Sequence[Block],
    printed: Sequence[tuple[str, Table]],
) -> Written:  # fmt: skip
    """Writes report.html and report.md into a folder.

    Args:
      printed: the tables that the command prints, beside the verdict, with a heading or none.
    """
    values: dict[str, Any] = {
        "title": title,
        "subtitle": subtitle,
        "verdict": verdict,
        "blocks": blocks,
        "css": (Path(__file__).parent / "page.css").read_text(encoding="utf-8"),
        "markdown": markdown,
        "inert": inert,
    }
    for suffix in ("html", "md"):
        text = environment(suffix == "html").get_template(f"blocks.{suffix}.jinja").render(values)
        (folder / f"report.{suffix}").write_text(visible(text), encoding="utf-8")
    said = [f"{heading}\n\n{markdown(table)}" if heading else markdown(table) for heading, table in printed]
    return Written(folder / "report.html", "\n\n".join(said), "\n".join(verdict))
