"""Writes `report.html` and `report.md` of a run or an evaluation."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from moral_jax.report import plots, replies, source, texts, words
from moral_jax.runs import reply_records, text_records
from moral_jax.runtime.strict_json import visible
from moral_jax.types import UserError


class Written(NamedTuple):
    """The path of the page, with the table and the verdict to print."""

    html: Path
    table: str
    verdict: str


def environment(escape: bool) -> jinja2.Environment:
    """Returns a Jinja environment over the templates of this package."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("moral_jax", "report"),
        autoescape=escape,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )


def _subtitle(s: source.Source) -> str:
    data = s.provenance.get("data", {})
    parts = [data.get("description"), s.provenance.get("model", {}).get("path"), data.get("citation")]
    return " · ".join(p for p in parts if p)


def _of_votes(s: source.Source) -> dict[str, Any]:
    """Returns what the page of a run on votes reads, beside what all pages have."""
    return {
        "verdict": words.verdict(s),
        "main": words.main_table(s),
        "more": words.more_table(s),
        "multiple_choice": words.multiple_choice_table(s),
        "second_order": words.second_order_table(s),
        "division": words.division(s.last) if s.last.numbers.get("second_order") else "",
        "bounded": words.bounded(s.last),
        "groups": words.group_tables(s),
        "intervals_note": words.intervals_note(s),
        "surprises": words.surprises(s.last),
        "plots": {
            "curves": plots.curves(s),
            "reliability": plots.reliability(s),
            "shares": plots.shares(s),
            "order_bias": plots.order_bias(s),
        },
    }


class Page(NamedTuple):
    """How the page of a kind of records is made."""

    read: Callable[[Path], source.Source]
    values: Callable[[source.Source], dict[str, Any]]  # what its templates read, beside what all have
    template: str


PAGES = {
    "votes": Page(source.read, _of_votes, "page"),
    text_records.KIND: Page(texts.read, texts.values, "text"),
    reply_records.KIND: Page(replies.read, replies.values, "replies"),
}


def write(folder: Path, fairness: Any = None) -> Written:
    """Writes both pages into `folder` from the files of the run in it.

    Args:
      fairness: a comparison of groups for the page of votes, `report.fairness.section`; None claims nothing.

    Raises:
      UserError: no stage of the run was scored.
    """
    kind = source.kind_of(folder)
    if kind not in PAGES:
        raise UserError(f"{folder}: its numbers are of kind {kind!r}; expected {' or '.join(PAGES)}")
    page = PAGES[kind]
    s = page.read(folder)
    own = page.values(s)
    values = {
        "source": s,
        "title": s.name,
        "subtitle": _subtitle(s),
        "resamples": s.config.get("eval", {}).get("bootstrap", "?"),
        "config": json.dumps(s.config, indent=2, ensure_ascii=False),
        "provenance": json.dumps(s.provenance, indent=2, ensure_ascii=False),
        "stage_names": [stage.name for stage in s.stages],
        "css": (Path(__file__).parent / "page.css").read_text(encoding="utf-8"),
        "number_text": words.number_text,
        "markdown": words.markdown,
        "inert": words.inert,
        "fairness": fairness,
    } | own
    for suffix in ("html", "md"):
        text = environment(suffix == "html").get_template(f"{page.template}.{suffix}.jinja").render(values)
        (folder / f"report.{suffix}").write_text(visible(text), encoding="utf-8")
    shown = own.get("multiple_choice") or own["main"]
    return Written(folder / "report.html", words.markdown(shown), " ".join(own["verdict"]))
