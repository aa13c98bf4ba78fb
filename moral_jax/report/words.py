"""Puts the numbers of a run into words: the verdict and the tables."""

import re
from typing import Any, NamedTuple

from moral_jax.report.source import Source, Stage

Estimate = dict[str, float]
TAG = re.compile("<(?! )")  # CommonMark: no tag begins with "< "

MAIN = {
    "cross_entropy": "cross-entropy",
    "dirichlet_nll": "Dirichlet NLL",
    "total_variation": "total variation",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
}
MORE = {
    "entropy_floor": "entropy of the votes (floor of cross-entropy)",
    "kl": "KL divergence",
    "jensen_shannon": "Jensen-Shannon divergence",
    "brier": "Brier score",
    "dirichlet_nll_per_vote": "Dirichlet NLL per vote",
    "ece": "expected calibration error",
    "share_correlation": "correlation of predicted with human share",
    "calibrated_cross_entropy": "cross-entropy, temperature fitted on validation",
    "calibrated_dirichlet_nll": "Dirichlet NLL, concentration fitted on validation",
    "concentration": "concentration s",
    "prediction_entropy": "entropy of the prediction",
    "option_mass": "probability on the options' tokens",
    "first_place_bias": "order bias: extra share of the option shown first",
    "order_sensitivity": "order sensitivity: total variation from the average over orders",
    "second_panel_agreement": "agrees with the plurality of a second panel",
    "second_panel_human": "first panel agrees with the second (human ceiling)",
    "choice_accuracy": "accuracy of the option that the rule picks",
    "choice_macro_f1": "macro F1 of the option that the rule picks",
    "legacy_cross_entropy": "legacy cross-entropy (formula of arXiv 2410.07826)",
    "legacy_dirichlet": "legacy Dirichlet (formula of arXiv 2410.07826)",
}
SECOND_ORDER = {
    "split_correlation": "correlation of expected with observed split",
    "concentration_correlation": "of concentration with observed split",
    "dirichlet_gain": "gain in Dirichlet NLL over one concentration",
}
YARDSTICKS = {
    "uniform": "uniform",
    "train prior": "prior of the training votes",
    "best constant": "best constant (knows these votes)",
    "BEST": "BEST (oracle of Scruples)",
}
STAGE_NAMES = {"initial": "before fine-tuning", "trained": "after fine-tuning", "answers": "model"}


class Table(NamedTuple):
    """A table of text cells; the first column names the row."""

    header: list[str]
    rows: list[list[str]]


def number(value: float) -> str:
    return f"{value:.3f}"


def interval(e: Estimate | None) -> str:
    """Formats an estimate as "0.661 [0.648, 0.674]"; returns "" for None."""
    return "" if e is None else f"{number(e['value'])} [{number(e['low'])}, {number(e['high'])}]"


def main_table(source: Source) -> Table:
    """Returns the main metrics: each stage with intervals, then the yardsticks on the same rows."""
    rows = [[STAGE_NAMES[s.name], *(interval(s.value(m)) for m in MAIN)] for s in source.stages]
    for key, name in YARDSTICKS.items():
        if key in source.last.numbers["yardsticks"]:
            scores = source.last.numbers["yardsticks"][key]
            rows.append([name, *(number(scores[m]) if m in scores else "" for m in MAIN)])
    return Table(["", *MAIN.values()], rows)


def more_table(source: Source) -> Table:
    """Returns the other metrics, one a row; leaves out those that no stage has."""
    header = ["", *(STAGE_NAMES[s.name] for s in source.stages)]
    known = [m for m in MORE if any(s.value(m) for s in source.stages)]
    return Table(header, [[MORE[m], *(interval(s.value(m)) for s in source.stages)] for m in known])


def second_order_table(source: Source) -> Table | None:
    """Returns how well each stage forecasts the votes; None if no row has whole votes."""
    rows = []
    for stage in source.stages:
        if numbers := stage.numbers.get("second_order"):
            coverage = [interval(e) for e in numbers["coverage"].values()]
            rows.append([STAGE_NAMES[stage.name], *coverage, *(interval(numbers.get(key)) for key in SECOND_ORDER)])
            levels = [f"{float(level):.0%} interval holds" for level in numbers["coverage"]]
    return Table(["", *levels, *SECOND_ORDER.values()], rows) if rows else None


def division(stage: Stage) -> str:
    """Describes how well a model predicts how divided people are."""
    numbers = stage.numbers["second_order"]
    e, gain = numbers["coverage"]["0.8"], numbers.get("dirichlet_gain")
    width = "too narrow" if e["high"] < 0.8 else "too wide" if e["low"] > 0.8 else "about as wide as they should be"
    lead = f"Its forecasts of the votes are {width}: intervals that should hold 80 % of them hold {e['value']:.0%}."
    if gain is None:
        return lead
    fixed = f"one concentration for all questions ({numbers['fixed_concentration']:.2g}, fitted on the validation rows)"
    if gain["high"] < 0:
        return f"{lead} With {fixed} it would be closer to the votes, by {-gain['value']:.3f} nats a question."
    if "concentration_correlation" not in numbers:
        return lead
    if gain["low"] > 0:
        return (
            f"{lead} It partly predicts which questions divide people: against {fixed}, its own concentrations gain "
            f"{gain['value']:.3f} nats a question."
        )
    return f"{lead} Against {fixed}, its own concentrations make no clear difference."


def bounded(stage: Stage) -> str:
    """Describes what an API does not reveal; returns "" for models that give all probabilities."""
    b = stage.numbers.get("bounds")
    if b is None:
        return ""
    ce, rows = b["cross_entropy"], stage.numbers["rows"]
    lead = (
        f"The API lists only the likeliest tokens; those that it does not list have {b['missing_mass']:.2%} of the "
        f"probability on average, and {b['unseen']} of {rows} questions have an option that is not among them. "
        f"Whatever lies there, the cross-entropy is no less than {number(ce['low'])}"
    )
    if b["unbounded"] == 0:
        return f"{lead} and no more than {number(ce['high'])}."
    open_end = f"{b['unbounded']} questions have votes for an option whose share may be zero."
    return f"{lead}; it has no upper bound: {open_end}"


def group_tables(source: Source) -> list[Table]:
    """Returns a table per kind of subset: rows, cross-entropy of each stage, floor, accuracy of the last stage."""
    out = []
    for kind, named in source.last.numbers["groups"].items():
        header = [kind, "rows", *(f"cross-entropy {STAGE_NAMES[s.name]}" for s in source.stages), "floor", "accuracy"]
        rows = []
        for name, last in named.items():
            ce = [interval(s.numbers["groups"].get(kind, {}).get(name, {}).get("cross_entropy")) for s in source.stages]
            floor, accuracy = number(last["entropy_floor"]["value"]), interval(last["accuracy"])
            rows.append([name, str(last["rows"]), *ce, floor, accuracy])
        out.append(Table(header, rows))
    return out


def inert(text: str) -> str:
    """Escapes data for Markdown, so that it begins no tag, link, cell or line."""
    text = TAG.sub("&lt;", " ".join(text.split()))
    return text.replace("|", "\\|").replace("](", "] (")


def markdown(table: Table) -> str:
    """Formats a pipe table, padded so that it is readable in a terminal too."""
    cells = [[inert(cell) for cell in row] for row in (table.header, *table.rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(table.header))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    rule = "|" + "|".join("-" * (w + 2) for w in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _against(stage: Stage) -> str:
    """Compares the cross-entropy of a stage with the best constant answer and with BEST."""
    e, yard = stage.cross_entropy, stage.numbers["yardsticks"]
    constant, best = yard["best constant"]["cross_entropy"], yard["BEST"]["cross_entropy"]
    if e["low"] > constant:
        return f"That is worse than a constant answer ({number(constant)}), which never reads the question."
    if e["high"] >= constant:
        return f"That cannot be told apart from a constant answer ({number(constant)}), which never reads the question."
    share = (constant - e["value"]) / (constant - best) if constant > best else 1.0
    return (
        f"That is {share:.0%} of the way from the best constant answer ({number(constant)}) to BEST ({number(best)}), "
        f"an oracle that knows these votes."
    )


def _order(stage: Stage) -> str:
    """Describes the order bias; returns "" if each question was asked in one order only."""
    bias = stage.value("first_place_bias")
    if bias is None:
        return ""
    if bias["low"] <= 0 <= bias["high"]:
        return "Which option is shown first makes no clear difference on average."
    more = "more" if bias["value"] > 0 else "less"
    return (
        f"The option shown first gets {abs(bias['value']):.1%} {more} than its due, averaged out here over all orders."
    )


def verdict(source: Source) -> list[str]:
    """Returns the verdict: sentences that follow from the numbers alone."""
    last = source.last
    e, rows = last.cross_entropy, last.numbers["rows"]
    scope = f"{rows} held-out questions" if last.numbers["split"] == "test" else f"{rows} questions"
    if source.comparison:
        d, first = source.comparison["cross_entropy"], source.stages[0].cross_entropy
        if d["low"] <= 0 <= d["high"]:
            lead = "Fine-tuning made no clear difference: "
        else:
            lead = (
                "Fine-tuning brought the model closer to people: " if d["value"] < 0 else "Fine-tuning made it worse: "
            )
        moved = (
            f"{lead}on {scope}, cross-entropy to the votes went from {number(first['value'])} to {number(e['value'])} "
            f"(difference {d['value']:+.3f}, 95 % interval {d['low']:+.3f} to {d['high']:+.3f})."
        )
    else:
        moved = f"On {scope}, the model's cross-entropy to the votes is {interval(e)}."
    return [s for s in (moved, _against(last), _order(last)) if s]


def surprises(stage: Stage, count: int = 10) -> list[dict[str, Any]]:
    """Returns the rows with the largest KL divergence of the votes from the prediction."""
    top = sorted(stage.records, key=lambda r: r["kl"], reverse=True)[:count]
    return [r | {"shares": [c / sum(r["counts"]) for c in r["counts"]], "votes": sum(r["counts"])} for r in top]
