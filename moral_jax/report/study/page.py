"""`study.html`, `study.md` and `study.json`: one page of many runs."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from moral_jax.report import words
from moral_jax.report.page import environment
from moral_jax.report.study import findings, plots, tables
from moral_jax.runtime.strict_json import visible


class Written(NamedTuple):
    """Where the page is, and what to print."""

    html: Path
    text: str


def _sections(study: dict[str, Any]) -> list[dict[str, Any]]:
    """What a task shows; pictures apart."""
    return [
        {
            "name": task["name"],
            "task": task,
            "findings": findings.findings(task),
            "overview": tables.overview(task),
            "full": tables.full(task),
            "calibrated": tables.calibrated(task),
            "legacy": tables.legacy(task),
            "comparisons": tables.comparisons(task),
            "groups": tables.groups(task),
            "curve": tables.curve(task),
        }
        for task in study["tasks"]
    ]


def _pictures(task: dict[str, Any]) -> list[tuple[str | None, str]]:
    """(SVG, caption)."""
    out = [
        (plots.forest(task, metric), f"{words_of}: 95 % intervals over rows and seeds; lines are yardsticks.")
        for metric, words_of in (("cross_entropy", "Cross-entropy"), ("dirichlet_nll", "Dirichlet NLL"))
    ]
    out.append((plots.splits(task), "Cross-entropy by how the votes were split, above the entropy of the votes."))
    for metric in tables.OVERVIEW:
        out.append((plots.learning_curve(task, metric), f"Learning curve: {tables.OVERVIEW[metric]}."))
    for row in dict.fromkeys(e["row"] for e in tables.whole(task)):
        of_row = [e for e in tables.whole(task) if e["row"] == row]
        out.append((plots.reliability(of_row), f"Reliability of {row}: larger dots hold more predictions."))
    return out


def _subtitle(task: dict[str, Any]) -> str:
    about = task["about"]
    parts = [about.get("description"), about.get("citation"), f"{task['rows']} {task['split']} rows" if about else None]
    return " · ".join(p for p in parts if p)


def write(folder: Path, study: dict[str, Any]) -> Written:
    """Writes the three files. `study`: as `moral_jax.study.collect.study` gives it."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(study, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "study.json").write_text(text + "\n", encoding="utf-8")
    sections = _sections(study)
    states = [c["state"] for c in study["cells"]]
    done = f"{states.count('done')} of {len(states)} cells are done."
    values = {
        "study": study,
        "sections": sections,
        "unfinished": tables.unfinished(study),
        "done": done,
        "subtitle": _subtitle,
        "synthetic": any(task["about"].get("task") == "synthetic" for task in study["tasks"]),
    }
    css = (Path(__file__).parents[1] / "page.css").read_text(encoding="utf-8")
    html = environment(True).get_template("study.html.jinja").render(**values, css=css, pictures=_pictures)
    (folder / "study.html").write_text(visible(html), encoding="utf-8")
    markdown = (
        environment(False).get_template("study.md.jinja").render(**values, markdown=words.markdown, inert=words.inert)
    )
    (folder / "study.md").write_text(visible(markdown), encoding="utf-8")
    shown = [words.markdown(s["full"]) + "\n\n" + "\n".join(s["findings"]) for s in sections]
    return Written(folder / "study.html", "\n\n".join([*shown, done]))
