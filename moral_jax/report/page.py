"""Writes `report.html` and `report.md` of a run or an evaluation."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from moral_jax.report import plots, source, texts, words
from moral_jax.runtime.strict_json import visible


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


def write(folder: Path) -> Written:
    """Writes both pages into `folder` from the files of the run in it.

    Raises:
      UserError: no stage of the run was scored.
    """
    of_texts = texts.is_of_texts(folder)
    s = texts.read(folder) if of_texts else source.read(folder)
    own = texts.values(s) if of_texts else _of_votes(s)
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
    } | own
    template = "text" if of_texts else "page"
    for kind in ("html", "md"):
        page = environment(kind == "html").get_template(f"{template}.{kind}.jinja").render(values)
        (folder / f"report.{kind}").write_text(visible(page), encoding="utf-8")
    shown = own.get("multiple_choice") or own["main"]
    return Written(folder / "report.html", words.markdown(shown), " ".join(own["verdict"]))
