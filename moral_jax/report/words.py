"""Puts the numbers of a run into words: the verdict and the tables."""

import re
from typing import Any, NamedTuple

from moral_jax.report.source import Source, Stage
from moral_jax.runs import quantities
from moral_jax.runs.quantities import YARDSTICKS

Estimate = dict[str, Any]  # value, and low and high if there is an interval
TAG = re.compile("<(?! )")  # CommonMark: no tag begins with "< "

MAIN = quantities.labels(quantities.MAIN)
MORE = quantities.labels(quantities.MORE)
SECOND_ORDER = quantities.labels(quantities.SECOND_ORDER)
LITTLE_MASS = 0.01  # probability on the options' tokens below which the page warns
STAGE_NAMES = {"initial": "before fine-tuning", "trained": "after fine-tuning", "answers": "model"}


class Table(NamedTuple):
    """A table of text cells; the first column names the row."""

    header: list[str]
    rows: list[list[str]]


def number(value: float, *, is_log: bool = False) -> str:
    """Formats a number with three decimals; with three digits if it may have any size."""
    return f"{value:.3f}" if not is_log else f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def number_text(value: float) -> str:
    """Formats votes: 1234567, 2.5, and 3 for 3.0."""
    return str(int(value)) if float(value).is_integer() else f"{value:.6g}"


def interval(e: Estimate | None) -> str:
    """Formats an estimate as "0.661 [0.648, 0.674]"; returns "" for None, the value alone if it has no interval."""
    if e is None:
        return ""
    if "expected" in e:
        return (
            f"{number(e['value'])} (if p were the true shares: {number(e['expected'])}, 95 % below {number(e['null'])})"
        )
    if "seeds" in e:
        return f"{number(e['value'])} (seeds: {', '.join(map(number, e['seeds']))})"
    said = [number(e[key], is_log=e.get("scale") == "log") for key in ("value", "low", "high") if key in e]
    return f"{said[0]} [{said[1]}, {said[2]}]" if "low" in e else said[0]


def side(difference: Estimate) -> int:
    """Returns -1 or 1 if a difference is below or above 0 beyond doubt, else 0.

    Its interval leaves out 0, and at the digits that pages print it is no 0 either.
    """
    if "low" not in difference or difference["low"] <= 0 <= difference["high"] or abs(difference["value"]) < 0.0005:
        return 0
    return 1 if difference["value"] > 0 else -1


def _questions(count: int) -> str:
    return "1 question" if count == 1 else f"{count} questions"


def main_table(source: Source) -> Table:
    """Returns the main metrics that some stage has: each stage with intervals, then the yardsticks on the same rows."""
    known = {m: label for m, label in MAIN.items() if any(s.value(m) for s in source.stages)}
    rows = [[STAGE_NAMES[s.name], *(interval(s.value(m)) for m in known)] for s in source.stages]
    for key, name in YARDSTICKS.items():
        if key in source.last.numbers["yardsticks"]:
            scores = source.last.numbers["yardsticks"][key]
            rows.append([name, *(number(scores[m]) if m in scores else "" for m in known)])
    return Table(["", *known.values()], rows)


def more_table(source: Source) -> Table:
    """Returns the other metrics, one a row, beside what the true shares would score; leaves out what no stage has."""
    header = ["", *(STAGE_NAMES[s.name] for s in source.stages), "true shares, if known"]
    best = source.last.numbers["yardsticks"].get("BEST", {})
    known = [m for m in MORE if any(s.value(m) for s in source.stages)]
    return Table(
        header,
        [
            [MORE[m], *(interval(s.value(m)) for s in source.stages), number(best[m]) if m in best else ""]
            for m in known
        ],
    )  # fmt: skip


def multiple_choice_table(source: Source) -> Table | None:
    """Returns MC1 and MC2 of each stage, in all and by category; None for tasks without true options."""
    scores = {s.name: s.numbers.get("multiple_choice", {}) for s in source.stages}
    last = scores[source.last.name]
    if not last:
        return None
    header, known = ["", "questions"], [(s, name) for name in last for s in source.stages]
    header += [f"{name} {STAGE_NAMES[s.name]}" if len(source.stages) > 1 else name for s, name in known]
    first = next(iter(last.values()))
    rows = [["all", str(first["rows"]), *(interval(scores[s.name][name]["all"]) for s, name in known)]]
    rows.append(["chance", "", *(number(scores[s.name][name]["chance"]) for s, name in known)])
    for category, of_first in first["by_category"].items():
        found = [scores[s.name][name]["by_category"].get(category) for s, name in known]
        rows.append([category, str(of_first["rows"]), *map(interval, found)])
    return Table(header, rows)


def second_order_table(source: Source) -> Table | None:
    """Returns how well each stage forecasts the votes; None if no row has whole votes."""
    rows: list[list[str]] = []
    for stage in source.stages:
        if numbers := stage.numbers.get("second_order"):
            coverage = [interval(e) for e in numbers["coverage"].values()]
            rows.append([STAGE_NAMES[stage.name], *coverage, *(interval(numbers.get(key)) for key in SECOND_ORDER)])
            levels = [f"{float(level):.0%} interval holds" for level in numbers["coverage"]]
            ceiling = numbers.get("split_ceiling")
    if rows and ceiling is not None:
        blank = [""] * len(levels)
        rows.append([YARDSTICKS["BEST"], *blank, number(ceiling), *[""] * (len(SECOND_ORDER) - 1)])
    return Table(["", *levels, *SECOND_ORDER.values()], rows) if rows else None


def division(stage: Stage) -> str:
    """Describes how well a model predicts how divided people are."""
    numbers = stage.numbers["second_order"]
    e, gain = numbers["coverage"]["0.8"], numbers.get("dirichlet_gain")
    if "low" not in e:
        return f"{_questions(numbers['rows'])} with whole votes: too few to judge forecasts of the votes."
    width = "too narrow" if e["high"] < 0.8 else "too wide" if e["low"] > 0.8 else "about as wide as they should be"
    lead = f"Its forecasts of the votes are {width}: intervals that should hold 80 % of them hold {e['value']:.0%}"
    left_out = numbers.get("of", numbers["rows"]) - numbers["rows"]
    lead += f" ({left_out} of {numbers['of']} questions, whose votes are not whole, are left out)." if left_out else "."
    if gain is None:
        return lead
    s = numbers["fixed_concentration"]
    size = f"{s:,.0f}" if s >= 100 else f"{s:.2g}"
    fixed = f"one concentration for all questions ({size}, fitted on the validation rows)"
    if side(gain) < 0:
        return f"{lead} With {fixed} it would be closer to the votes, by {-gain['value']:.3f} nats a question."
    if "concentration_correlation" not in numbers:
        return lead
    if side(gain) > 0:
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
    """Returns a table per kind of subset: rows, cross-entropy of each stage and of the true shares, last accuracy."""
    out = []
    for kind, named in source.last.numbers["groups"].items():
        of_stages = [f"cross-entropy {STAGE_NAMES[s.name]}" for s in source.stages]
        rows = []
        for name, last in named.items():
            ce = [interval(s.numbers["groups"].get(kind, {}).get(name, {}).get("cross_entropy")) for s in source.stages]
            best = number(last["BEST"]) if "BEST" in last else ""
            rows.append([name, str(last["rows"]), *ce, best, interval(last["accuracy"])])
        out.append(Table([kind, "rows", *of_stages, "of the true shares", "accuracy"], rows))
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
    """Compares a stage with the best constant answer, question by question, and with the true shares."""
    above = stage.numbers.get("against", {}).get("best constant")
    constant = stage.numbers["yardsticks"]["best constant"]["cross_entropy"]
    if above is None or "low" not in above:
        return ""
    if side(above) > 0:
        return f"That is worse than a constant answer ({number(constant)}), which never reads the question."
    if side(above) == 0:
        return f"That cannot be told apart from a constant answer ({number(constant)}), which never reads the question."
    way = stage.value("way_to_true_shares")
    if way is None:
        return f"That is better than any constant answer ({number(constant)})."
    return (
        f"That is {way['value']:.0%} of the way ({way['low']:.0%} to {way['high']:.0%}) from the best constant answer "
        f"({number(constant)}) to the true shares, if they were known "
        f"({number(stage.numbers['yardsticks']['BEST']['cross_entropy'])})."
    )


def votes_worth(e: Estimate, most: int) -> str:
    """Puts into words how many votes of other people a model is worth, of `most` that are there to compare with."""
    if e["value"] >= most:
        return f"at least {most} votes"
    if "low" not in e:
        return f"{e['value']:.1f} votes"
    return f"{e['value']:.1f} votes ({e['low']:.1f} to {min(e['high'], most):.1f})"


def _people(stage: Stage) -> str:
    """Says how many votes of other people the model is worth; returns "" if there is no second panel."""
    worth, curve = stage.value("worth_in_votes"), stage.numbers.get("votes_curve")
    if worth is None or not curve or "low" not in worth:
        return ""
    return f"As a prediction of these votes it is worth {votes_worth(worth, len(curve) - 1)} of other people."


def _order(stage: Stage) -> str:
    """Describes the order bias; returns "" if each question was asked in one order only."""
    bias = stage.value("first_place_bias")
    if bias is None or "low" not in bias:
        return ""
    if side(bias) == 0:
        return "Which option is shown first makes no clear difference on average."
    more = "more" if bias["value"] > 0 else "less"
    points = f"{100 * abs(bias['value']):.1f} percentage points"
    return f"The option shown first gets {points} {more} than its due, averaged out here over all orders."


def _mass(stage: Stage) -> str:
    """Warns if the options' tokens have hardly any probability; returns "" otherwise."""
    mass = stage.value("option_mass")
    if mass is None or mass["value"] >= LITTLE_MASS:
        return ""
    return (
        f"Only {mass['value']:.2g} of the probability lies on the options' tokens: the model would say something else, "
        f"and these shares are those of its rare answers."
    )


def verdict(source: Source) -> list[str]:
    """Returns the verdict: sentences that follow from the numbers alone."""
    last = source.last
    e, rows = last.cross_entropy, last.numbers["rows"]
    held_out = "held-out " if last.numbers["split"] == "test" else ""
    scope = f"On {_questions(rows).replace(' ', f' {held_out}', 1)}"
    if "low" not in e:
        return [f"{scope}, the model's cross-entropy to the votes is {number(e['value'])}: too few to judge it by."]
    if source.comparison:
        d, first = source.comparison["cross_entropy"], source.stages[0].cross_entropy
        leads = ("Fine-tuning made no clear difference", "Fine-tuning made it worse",
                 "Fine-tuning brought the model closer to people")  # fmt: skip
        moved = (
            f"{leads[side(d)]}: {scope[0].lower()}{scope[1:]}, cross-entropy to the votes went from "
            f"{number(first['value'])} to {number(e['value'])} (difference {d['value']:+.3f}, 95 % interval "
            f"{d['low']:+.3f} to {d['high']:+.3f})."
        )
    else:
        moved = f"{scope}, the model's cross-entropy to the votes is {interval(e)}."
    return [s for s in (moved, _against(last), _people(last), _order(last), _mass(last)) if s]


def intervals_note(source: Source) -> str:
    """Says what the intervals of a run hold, and what they do not."""
    shared, parts = source.last.numbers.get("shared", {}), []
    if shared.get("rows_share"):
        parts.append("Questions that share an action or another key count together, which makes intervals wider.")
    elif not shared.get("known"):
        parts.append("These records do not say which questions share an action, so all count as independent.")
    if source.stages[-1].name == "trained":
        parts.append("This is one run with one seed: what another seed would change is in no interval.")
    bounds = source.last.numbers.get("at_bound", [])
    if bounds:
        fitted = ", ".join(name.replace("_", " ") for name in bounds)
        parts.append(f"The fit on the validation rows ended at the bound of what is searched: {fitted}.")
    return " ".join(parts)


def surprises(stage: Stage, count: int = 10) -> list[dict[str, Any]]:
    """Returns the rows with the largest KL divergence of the votes from the prediction."""
    top = sorted(stage.records, key=lambda r: r["kl"], reverse=True)[:count]
    return [r | {"shares": [c / sum(r["counts"]) for c in r["counts"]], "votes": sum(r["counts"])} for r in top]
