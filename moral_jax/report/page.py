"""Writes `report.html` and `report.md` of a run or an evaluation."""

import json
from pathlib import Path
from typing import NamedTuple

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


def write(folder: Path) -> Written:
    """Writes both pages into `folder` from the files of the run in it.

    Raises:
      UserError: no stage of the run was scored.
    """
    if texts.is_of_texts(folder):
        return _write_of_texts(folder)
    s = source.read(folder)
    main = words.main_table(s)
    verdict = words.verdict(s)
    values = {
        "source": s,
        "title": s.name,
        "subtitle": _subtitle(s),
        "verdict": verdict,
        "main": main,
        "more": words.more_table(s),
        "multiple_choice": words.multiple_choice_table(s),
        "second_order": words.second_order_table(s),
        "division": words.division(s.last) if s.last.numbers.get("second_order") else "",
        "bounded": words.bounded(s.last),
        "groups": words.group_tables(s),
        "intervals_note": words.intervals_note(s),
        "resamples": s.config.get("eval", {}).get("bootstrap", "?"),
        "config": json.dumps(s.config, indent=2, ensure_ascii=False),
        "provenance": json.dumps(s.provenance, indent=2, ensure_ascii=False),
    }
    pictures = {
        "curves": plots.curves(s),
        "reliability": plots.reliability(s),
        "shares": plots.shares(s),
        "order_bias": plots.order_bias(s),
    }
    css = _css()
    html = (
        environment(True)
        .get_template("page.html.jinja")
        .render(
            **values,
            css=css,
            plots=pictures,
            surprises=words.surprises(s.last),
            stage_names=[x.name for x in s.stages],
            number_text=words.number_text,
        )
    )
    (folder / "report.html").write_text(visible(html), encoding="utf-8")
    text = environment(False).get_template("page.md.jinja").render(**values, markdown=words.markdown, inert=words.inert)
    (folder / "report.md").write_text(visible(text), encoding="utf-8")
    chosen = values["multiple_choice"]
    return Written(folder / "report.html", words.markdown(chosen or main), " ".join(verdict))


def _css() -> str:
    return (Path(__file__).parent / "page.css").read_text(encoding="utf-8")


def _write_of_texts(folder: Path) -> Written:
    """Writes both pages of a run on texts."""
    s = texts.read(folder)
    values = texts.values(s, _subtitle(s))
    html = environment(True).get_template("text.html.jinja").render(**values, css=_css())
    (folder / "report.html").write_text(visible(html), encoding="utf-8")
    text = environment(False).get_template("text.md.jinja").render(**values, markdown=words.markdown, inert=words.inert)
    (folder / "report.md").write_text(visible(text), encoding="utf-8")
    return Written(folder / "report.html", words.markdown(values["main"]), " ".join(values["verdict"]))
