"""Writes `study.html`, `study.md` and `study.json`: one page about many runs."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from moral_jax.report import words
from moral_jax.report.page import environment
from moral_jax.report.study import arms, findings, plots, tables
from moral_jax.runs import reply_records, text_records
from moral_jax.runtime.strict_json import visible

OF_TEXTS = (text_records.KIND, reply_records.KIND)


class StudyPage(NamedTuple):
    """The path of the page, and the text to print."""

    html: Path
    text: str


def _sections(study: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the tables and sentences of each task; `_pictures` adds the pictures."""
    return [
        _of_texts(task)
        if task.get("kind") in OF_TEXTS
        else {
            "name": task["name"],
            "is_of_texts": False,
            "task": task,
            "findings": findings.findings(task),
            "overview": tables.overview(task),
            "full": tables.full(task),
            "distances": tables.distances(task),
            "calibrated": tables.calibrated(task),
            "legacy": tables.legacy(task),
            "comparisons": tables.comparisons(task),
            "groups": tables.groups(task),
            "curve": tables.curve(task),
        }
        for task in study["tasks"]
    ]


def _of_texts(task: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": task["name"],
        "is_of_texts": True,
        "task": task,
        "findings": [],
        "full": tables.texts(task),
        "differences": tables.text_differences(task),
    }


def _arms(study: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the table of arms, their differences and sentences on them; None for studies without measures."""
    if not (found := study.get("arms")):
        return None
    return {"table": arms.table(found), "contrasts": arms.contrasts(found), "findings": arms.findings(found)}


def _pictures(task: dict[str, Any]) -> list[tuple[str | None, str]]:
    """Returns the pictures of a task as (SVG, caption)."""
    out = [
        (plots.forest(task, metric), f"{label}: 95 % intervals over rows and seeds; lines are yardsticks.")
        for metric, label in (("cross_entropy", "Cross-entropy"), ("dirichlet_nll", "Dirichlet NLL"))
    ]
    out.append((plots.splits(task), "Cross-entropy by how the votes were split, above that of the true shares."))
    for metric in tables.OVERVIEW:
        out.append((plots.learning_curve(task, metric), f"Learning curve: {tables.OVERVIEW[metric]}."))
    for row in dict.fromkeys(e["row"] for e in tables.full_data_entries(task)):
        of_row = [e for e in tables.full_data_entries(task) if e["row"] == row]
        out.append((plots.reliability(of_row), f"Reliability of {row}: larger dots stand for more predictions."))
    return out


def _subtitle(task: dict[str, Any]) -> str:
    about = task["about"]
    parts = [about.get("description"), about.get("citation"), f"{task['rows']} {task['split']} rows" if about else None]
    return " · ".join(p for p in parts if p)


def write(folder: Path, study: dict[str, Any]) -> StudyPage:
    """Writes the three files of a study, as `moral_jax.study.collect.study` returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(study, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "study.json").write_text(text + "\n", encoding="utf-8")
    sections = _sections(study)
    states = [c["state"] for c in study["cells"]]
    done = f"{states.count('done')} of {len(states)} cells are done."
    of_arms = _arms(study)
    values = {
        "study": study,
        "arms": of_arms,
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
    if of_arms:
        sections = [{"full": of_arms["table"], "findings": of_arms["findings"]}]
    summaries = [words.markdown(s["full"]) + "\n\n" + "\n".join(s["findings"]) for s in sections]
    return StudyPage(folder / "study.html", "\n\n".join([*summaries, done]))
