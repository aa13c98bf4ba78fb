"""The tables of a study's page, from `study.json`. What is planned and not there is shown as missing."""

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
    """ "SmolLM2 (CE-tuned, 10 % of the rows)"."""
    parts = [e["training"]] if e["training"] else []
    parts += [f"{e['share']:.0%} of the rows".replace("%", " %")] if e["share"] < 1 else []
    return f"{e['row']} ({', '.join(parts)})" if parts else e["row"]


def cell(e: Entry | None, metric: str) -> str:
    """A number with its interval; how many seeds it holds, if some are missing."""
    if e is None:
        return NOT_PLANNED
    if not e["seeds"]:
        return MISSING
    if metric not in e["metrics"]:
        return NOT_PLANNED
    some = f" ({len(e['seeds'])} of {e['planned']} seeds)" if len(e["seeds"]) < e["planned"] else ""
    return interval(e["metrics"][metric]) + some


def whole(task: Task) -> list[Entry]:
    """The entries that were trained on all rows: those of the tables."""
    return [e for e in task["entries"] if e["share"] == 1]


def overview(task: Task) -> Table | None:
    """Rows models; columns each metric before tuning and after each kind of it. Nothing where nothing is tuned."""
    asked = [e for e in whole(task) if e["training"]]
    trainings = list(dict.fromkeys(e["training"] for e in asked))
    if not asked:
        return None
    by_key = {(e["row"], e["training"]): e for e in asked}
    rows = [
        [row, *(cell(by_key.get((row, training)), metric) for metric in OVERVIEW for training in trainings)]
        for row in dict.fromkeys(e["row"] for e in asked)
    ]
    return Table(["", *(f"{words}, {t}" for words in OVERVIEW.values() for t in trainings)], rows)


def _numbers(entries: list[Entry], metrics: dict[str, str]) -> list[list[str]]:
    return [[name(e), *(cell(e, m) for m in metrics)] for e in entries]


def full(task: Task) -> Table:
    """Every entry, then the yardsticks on the same rows."""
    yard = task["yardsticks"]
    rows = [
        [words, *(number(yard[key][m]) if m in yard[key] else NOT_PLANNED for m in FULL)]
        for key, words in ALL_YARDSTICKS.items()
        if key in yard
    ]
    return Table(["", *FULL.values()], _numbers(whole(task), FULL) + rows)


def calibrated(task: Task) -> Table:
    return Table(["", *CALIBRATED.values()], _numbers(whole(task), CALIBRATED))


def legacy(task: Task) -> Table | None:
    """The study's own two formulas beside the right ones, of those that have both."""
    known = [e for e in whole(task) if "legacy_dirichlet" in e["metrics"]]
    return Table(["", *LEGACY.values()], _numbers(known, LEGACY)) if known else None


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def comparisons(task: Task) -> Table | None:
    """All that was tested, in the order in which it was planned."""
    header = ["", "metric", "one", "the other", "difference", "p", "p (Holm)"]
    rows = [
        [QUESTIONS[c["what"]], OVERVIEW[c["metric"]], f"{name(c['a'])}: {number(c['a_value'])}"]
        + [f"{name(c['b'])}: {number(c['b_value'])}", interval(c), p_value(c["p"]), p_value(c["p_holm"])]
        for c in task["comparisons"]
    ]
    return Table(header, rows) if rows else None


def groups(task: Task) -> list[Table]:
    """Per kind of subset: cross-entropy of every entry on each, beside the entropy of the votes there."""
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
    """Entries that differ in the share of the training rows alone, the smallest first."""
    found: dict[tuple[str, str], list[Entry]] = {}
    for e in task["entries"]:
        found.setdefault((e["row"], e["training"]), []).append(e)
    return [sorted(c, key=lambda e: e["share"]) for c in found.values() if len({e["share"] for e in c}) > 1]


def curve(task: Task) -> Table | None:
    """Learning curves in numbers."""
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
    """The cells that are not done, with the last line of a failed one's log, or what is wrong with a damaged one."""
    rows = [[c["name"], c["state"], c["tail"][-1] if c["tail"] else ""] for c in study["cells"] if c["state"] != "done"]
    return Table(["cell", "state", "what it said last, or what is wrong"], rows) if rows else None
