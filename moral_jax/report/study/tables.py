"""Makes the tables of a study's page from `study.json`. A planned cell without a result is shown as missing."""

from typing import Any

from moral_jax.report.words import YARDSTICKS, Table, interval, number

Task = dict[str, Any]
Entry = dict[str, Any]

MISSING, NOT_PLANNED = "missing", "–"
OVERVIEW = {"cross_entropy": "cross-entropy", "dirichlet_nll": "Dirichlet NLL"}
FULL = OVERVIEW | {"total_variation": "total variation", "accuracy": "accuracy", "macro_f1": "macro F1"}
CALIBRATED = {
    "calibrated_cross_entropy": "cross-entropy, temperature fitted on validation",
    "calibrated_dirichlet_nll": "Dirichlet NLL, concentration fitted on validation",
    "dirichlet_nll_per_vote": "Dirichlet NLL per vote",
}
LEGACY = {
    "cross_entropy": "cross-entropy",
    "legacy_cross_entropy": "legacy cross-entropy",
    "dirichlet_nll": "Dirichlet NLL",
    "legacy_dirichlet": "legacy Dirichlet",
    "option_mass": "probability on the options' tokens",
}
ALL_YARDSTICKS = YARDSTICKS | {"second panel": "a second panel of people, taken as a prediction"}
QUESTIONS = {
    "tuning": "what tuning did",
    "objective": "which objective",
    "models": "which model",
    "data": "what more data did",
}


def name(e: Entry) -> str:
    """Returns the label of an entry, such as "SmolLM2 (CE-tuned, 10 % of the rows)"."""
    parts = [e["training"]] if e["training"] else []
    parts += [f"{e['share']:.0%} of the rows".replace("%", " %")] if e["share"] < 1 else []
    return f"{e['row']} ({', '.join(parts)})" if parts else e["row"]


def cell(e: Entry | None, metric: str) -> str:
    """Formats a metric with its interval, and the number of its seeds if some are missing."""
    if e is None:
        return NOT_PLANNED
    if not e["seeds"]:
        return MISSING
    if metric not in e["metrics"]:
        return NOT_PLANNED
    seeds = f" ({len(e['seeds'])} of {e['planned']} seeds)" if len(e["seeds"]) < e["planned"] else ""
    return interval(e["metrics"][metric]) + seeds


def full_data_entries(task: Task) -> list[Entry]:
    """Returns the entries trained on all rows, which the tables show; the others are points of learning curves."""
    return [e for e in task["entries"] if e["share"] == 1]


def overview(task: Task) -> Table | None:
    """Returns each metric of each model (rows) by kind of training (columns); None if nothing is tuned."""
    entries = [e for e in full_data_entries(task) if e["training"]]
    trainings = list(dict.fromkeys(e["training"] for e in entries))
    if not entries:
        return None
    by_key = {(e["row"], e["training"]): e for e in entries}
    rows = [
        [row, *(cell(by_key.get((row, training)), metric) for metric in OVERVIEW for training in trainings)]
        for row in dict.fromkeys(e["row"] for e in entries)
    ]
    return Table(["", *(f"{words}, {t}" for words in OVERVIEW.values() for t in trainings)], rows)


def _numbers(entries: list[Entry], metrics: dict[str, str]) -> list[list[str]]:
    return [[name(e), *(cell(e, m) for m in metrics)] for e in entries]


def full(task: Task) -> Table:
    """Returns the main metrics of every entry, then of the yardsticks on the same rows."""
    yard = task["yardsticks"]
    rows = [
        [words, *(number(yard[key][m]) if m in yard[key] else NOT_PLANNED for m in FULL)]
        for key, words in ALL_YARDSTICKS.items()
        if key in yard
    ]
    return Table(["", *FULL.values()], _numbers(full_data_entries(task), FULL) + rows)


def calibrated(task: Task) -> Table:
    """Returns the metrics after calibration on validation rows."""
    return Table(["", *CALIBRATED.values()], _numbers(full_data_entries(task), CALIBRATED))


def legacy(task: Task) -> Table | None:
    """Returns the two formulas of the study beside the right ones, for the entries that have both."""
    entries = [e for e in full_data_entries(task) if "legacy_dirichlet" in e["metrics"]]
    return Table(["", *LEGACY.values()], _numbers(entries, LEGACY)) if entries else None


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def comparisons(task: Task) -> Table | None:
    """Returns all tested differences in the order in which they were planned."""
    header = ["", "metric", "one", "the other", "difference", "p", "p (Holm)"]
    rows = [
        [QUESTIONS[c["what"]], OVERVIEW[c["metric"]], f"{name(c['a'])}: {number(c['a_value'])}"]
        + [f"{name(c['b'])}: {number(c['b_value'])}", interval(c), p_value(c["p"]), p_value(c["p_holm"])]
        for c in task["comparisons"]
    ]
    return Table(header, rows) if rows else None


def groups(task: Task) -> list[Table]:
    """Returns a table per kind of subset: cross-entropy of every entry, beside the entropy of the votes."""
    out = []
    for kind in dict.fromkeys(g["kind"] for g in task["groups"]):
        of_kind = [g for g in task["groups"] if g["kind"] == kind]
        names = [name(e) for e in of_kind[0]["entries"] if e["share"] == 1]
        rows = [
            [g["name"], str(g["rows"]), number(g["floor"])]
            + [interval(e["cross_entropy"]) for e in g["entries"] if e["share"] == 1]
            for g in of_kind
        ]
        out.append(Table([kind, "rows", "floor", *names], rows))
    return out


def curves(task: Task) -> list[list[Entry]]:
    """Returns lists of entries that differ only in their share of the training rows, the smallest share first."""
    by_model: dict[tuple[str, str], list[Entry]] = {}
    for e in task["entries"]:
        by_model.setdefault((e["row"], e["training"]), []).append(e)
    return [sorted(c, key=lambda e: e["share"]) for c in by_model.values() if len({e["share"] for e in c}) > 1]


def curve(task: Task) -> Table | None:
    """Returns the learning curves as a table; None if there are none."""
    rows = [
        [
            f"{e['row']} ({e['training']})",
            f"{e['share']:g}",
            str(e.get("train_rows") or ""),
            *(cell(e, m) for m in OVERVIEW),
        ]
        for c in curves(task)
        for e in c
    ]
    return Table(["", "share of the training rows", "rows", *OVERVIEW.values()], rows) if rows else None


def unfinished(study: dict[str, Any]) -> Table | None:
    """Returns the cells that are not done, with the last line of the log of those that failed; None if all are done."""
    rows = [[c["name"], c["state"], c["tail"][-1] if c["tail"] else ""] for c in study["cells"] if c["state"] != "done"]
    return Table(["cell", "state", "last line of its log"], rows) if rows else None
