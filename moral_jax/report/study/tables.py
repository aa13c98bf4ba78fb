"""Makes the tables of a study's page from `study.json`. A planned cell without a result is shown as missing."""

from typing import Any

from moral_jax.report.words import Table, interval, number
from moral_jax.runs import quantities
from moral_jax.runs.quantities import REPLIES, TEXTS, YARDSTICKS
from moral_jax.runs.reply_records import KIND as KIND_OF_REPLIES

Task = dict[str, Any]
Entry = dict[str, Any]

MISSING, NOT_PLANNED = "missing", "–"
OVERVIEW = quantities.labels(("cross_entropy", "dirichlet_nll"))
FULL = quantities.labels(quantities.MAIN)
DISTANCES = quantities.labels(
    ("worth_in_votes", "explained", "squared_distance", "jensen_shannon_distance", "wasserstein", "share_calibration")
)
CALIBRATED = quantities.labels(("calibrated_cross_entropy", "calibrated_dirichlet_nll", "dirichlet_nll_per_vote"))
LEGACY = quantities.labels(
    ("cross_entropy", "legacy_cross_entropy", "dirichlet_nll", "legacy_dirichlet", "option_mass")
)  # fmt: skip
OF_TEXTS = ("nll_per_token", "perplexity", "likelihood_accuracy", "reward_accuracy", "reward_margin")
OF_REPLIES = ("reward", "tokens", "finished", "unknown")
LABELS = {m: TEXTS[m].label for m in OF_TEXTS} | {m: REPLIES[m].label for m in OF_REPLIES}
QUESTIONS = {
    "tuning": "what tuning did",
    "objective": "which objective",
    "models": "which model",
    "data": "what more data did",
    "constant": "better than a constant",
    "people": "against other people",
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
        for key, words in YARDSTICKS.items()
        if key in yard
    ]
    return Table(["", *FULL.values()], _numbers(full_data_entries(task), FULL) + rows)


def distances(task: Task) -> Table:
    """Returns how far the predictions are from people, in other units; leaves out what no entry has."""
    entries = full_data_entries(task)
    known = {m: label for m, label in DISTANCES.items() if any(m in e["metrics"] for e in entries)}
    return Table(["", *known.values()], _numbers(entries, known))


def calibrated(task: Task) -> Table:
    """Returns the metrics after calibration on validation rows."""
    return Table(["", *CALIBRATED.values()], _numbers(full_data_entries(task), CALIBRATED))


def legacy(task: Task) -> Table | None:
    """Returns the two formulas of the study beside the right ones, for the entries that have both."""
    entries = [e for e in full_data_entries(task) if "legacy_dirichlet" in e["metrics"]]
    return Table(["", *LEGACY.values()], _numbers(entries, LEGACY)) if entries else None


def _of_kind(task: Task) -> tuple[str, ...]:
    return OF_REPLIES if task["kind"] == KIND_OF_REPLIES else OF_TEXTS


def texts(task: Task) -> Table:
    """Returns the main numbers on texts, or on replies, of every entry."""
    known = {m: LABELS[m] for m in _of_kind(task) if any(m in e["metrics"] for e in task["entries"])}
    return Table(["", *known.values()], _numbers(full_data_entries(task), known))


def text_differences(task: Task) -> Table | None:
    """Returns what each entry differs by from the first one that is done, row by row; None if there is but one."""
    entries = [e for e in task["entries"] if e["minus_first"]]
    known = {m: LABELS[m] for m in _of_kind(task) if any(m in e["minus_first"] for e in entries)}
    first = next((name(e) for e in task["entries"] if e["metrics"]), "")
    rows = [
        [name(e), *(interval(e["minus_first"][m]) if m in e["minus_first"] else NOT_PLANNED for m in known)]
        for e in entries
    ]
    return Table([f"minus {first}", *known.values()], rows) if entries else None


def p_value(p: float, is_bound: bool) -> str:
    """Formats a p-value as "= 0.012", or as "≤ 0.0001" if no draw was as extreme."""
    if is_bound:
        return f"≤ {p:.1g}"
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def comparisons(task: Task) -> Table | None:
    """Returns all tested differences in the order in which they were planned."""
    header = ["", "metric", "one", "the other", "difference", "p", "p in its family"]
    rows = [
        [QUESTIONS[c["what"]], OVERVIEW[c["metric"]], f"{name(c['a'])}: {number(c['a_value'])}"]
        + [f"{name(c['b'])}: {number(c['b_value'])}", interval(c), p_value(c["p"], c["p_is_bound"]).removeprefix("= ")]
        + [f"{p_value(c['p_family'], c['p_family_is_bound']).removeprefix('= ')} (of {c['family']})"]
        for c in task["comparisons"]
    ]
    return Table(header, rows) if rows else None


def groups(task: Task) -> list[Table]:
    """Returns a table per kind of subset: cross-entropy of every entry, beside that of the true shares."""
    out = []
    for kind in dict.fromkeys(g["kind"] for g in task["groups"]):
        of_kind = [g for g in task["groups"] if g["kind"] == kind]
        names = [name(e) for e in of_kind[0]["entries"] if e["share"] == 1]
        rows = [
            [g["name"], str(g["rows"]), number(g["BEST"]) if "BEST" in g else ""]
            + [interval(e["cross_entropy"]) for e in g["entries"] if e["share"] == 1]
            for g in of_kind
        ]
        out.append(Table([kind, "rows", "true shares", *names], rows))
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
    """Returns the cells that are not done: of a failed one the last line of its log, of a damaged one what is wrong."""
    rows = [[c["name"], c["state"], c["tail"][-1] if c["tail"] else ""] for c in study["cells"] if c["state"] != "done"]
    return Table(["cell", "state", "what it said last, or what is wrong"], rows) if rows else None
