"""Puts the results of a study into sentences that follow from the numbers and claim no more than the intervals do."""

from typing import Any

from moral_jax.report.study import tables
from moral_jax.report.study.tables import OVERVIEW, Task, name
from moral_jax.report.words import number

LEVEL = 0.05
TRAINED_FOR = {"cross_entropy": "CE-tuned", "dirichlet_nll": "Dirichlet-tuned"}
Comparison = dict[str, Any]


def is_significant(c: Comparison) -> bool:
    """Returns true if zero lies outside the interval and p is below LEVEL after the correction."""
    return c["p_holm"] < LEVEL and not c["low"] <= 0 <= c["high"]


def _evidence(c: Comparison) -> str:
    return f"difference {c['value']:+.3f}, 95 % interval {c['low']:+.3f} to {c['high']:+.3f}, {_p(c)}"


def _p(c: Comparison) -> str:
    """Formats the corrected p-value as "p = 0.012" or "p < 0.001"."""
    p = tables.p_value(c["p_holm"])
    return f"p {p}" if p.startswith("<") else f"p = {p}"


def _list(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _comparisons(task: Task, what: str) -> list[Comparison]:
    return [c for c in task["comparisons"] if c["what"] == what]


def tuning(task: Task) -> list[str]:
    """Describes the effect of each tuning on the metric that it trains; on both metrics if its name is a new one."""
    out = []
    for c in _comparisons(task, "tuning"):
        training, metric = c["a"]["training"], OVERVIEW[c["metric"]]
        if training in TRAINED_FOR.values() and TRAINED_FOR[c["metric"]] != training:
            continue
        moved = f"{number(c['b_value'])} to {number(c['a_value'])} ({_evidence(c)})"
        if is_significant(c):
            verb = "lowered" if c["value"] < 0 else "raised"
            out.append(f"{name(c['a'])}: fine-tuning {verb} the {metric}, {moved}.")
        else:
            out.append(f"{name(c['a'])}: no effect of fine-tuning on the {metric} is shown, {moved}.")
    return out


def objective(task: Task) -> list[str]:
    """Compares each metric between the model trained for it and the model trained with the other objective."""
    out = []
    for c in _comparisons(task, "objective"):
        values = f"{number(c['a_value'])} against {number(c['b_value'])}, {_evidence(c)}"
        row, metric = c["a"]["row"], OVERVIEW[c["metric"]]
        if not is_significant(c):
            out.append(f"{row}: which objective was trained makes no clear difference to the {metric} ({values}).")
            continue
        lower, other = (c["a"], c["b"]) if c["value"] < 0 else (c["b"], c["a"])
        out.append(f"{row}: {lower['training']} has the lower {metric} than {other['training']} ({values}).")
    return out


def models(task: Task) -> list[str]:
    """Names the model with the lowest value of a metric, and the models from which it does or does not differ."""
    out = []
    for metric, words in OVERVIEW.items():
        of_metric = [c for c in _comparisons(task, "models") if c["metric"] == metric]
        if not of_metric:
            continue
        best = of_metric[0]["a"]  # pairs come in the order of their values
        against = [c for c in of_metric if c["a"] == best]
        others = [f"{name(c['b'])} ({number(c['b_value'])}, {_p(c)})" for c in against]
        beaten = [s for s, c in zip(others, against, strict=True) if is_significant(c)]
        level = [s for s, c in zip(others, against, strict=True) if not is_significant(c)]
        parts = [f"lower than {_list(beaten)}"] if beaten else []
        parts += [f"not told apart from {_list(level)}"] if level else []
        out.append(f"Lowest {words}: {name(best)} with {number(against[0]['a_value'])}, {'; '.join(parts)}.")
    return out


def against_yardsticks(task: Task) -> list[str]:
    """Sorts models by cross-entropy: worse than, not told apart from, and better than the best constant answer."""
    yard = task["yardsticks"]
    scored = [e for e in tables.full_data_entries(task) if e["metrics"]]
    if not scored or not {"best constant", "BEST"} <= set(yard):
        return []
    constant, best = (yard[k]["cross_entropy"] for k in ("best constant", "BEST"))
    worse: list[str] = []
    level: list[str] = []
    better: list[str] = []
    for e in scored:
        ce = e["metrics"]["cross_entropy"]
        side = worse if ce["low"] > constant else level if ce["high"] >= constant else better
        side.append(name(e))
        if side is better and constant > best:
            better[-1] += f" ({(constant - ce['value']) / (constant - best):.0%} of the way to BEST)".replace("%", " %")
    groups = [
        (worse, "Worse in cross-entropy than one constant answer"),
        (level, "Not told apart in cross-entropy from one constant answer"),
        (better, "Better in cross-entropy than any constant answer"),
    ]
    return [f"{words} ({number(constant)}): {_list(names)}." for names, words in groups if names]


def people(task: Task) -> list[str]:
    """Compares a second panel's votes, taken as a prediction, with the model of lowest cross-entropy."""
    scored = [e for e in tables.full_data_entries(task) if e["metrics"]]
    if not scored or "second panel" not in task["yardsticks"]:
        return []
    panel = task["yardsticks"]["second panel"]
    e = min(scored, key=lambda e: e["metrics"]["cross_entropy"]["value"])
    ce = e["metrics"]["cross_entropy"]
    position = (
        "still above that" if ce["low"] > panel["cross_entropy"]
        else "below that" if ce["high"] < panel["cross_entropy"]
        else "not told apart from that"
    )  # fmt: skip
    return [
        f"As many other people, their votes taken as a prediction, come to a cross-entropy of "
        f"{number(panel['cross_entropy'])} and agree with the plurality in {panel['accuracy']:.1%} of the questions; "
        f"{name(e)}, the lowest here, is {position} ({number(ce['value'])}; {e['metrics']['accuracy']['value']:.1%})."
    ]


def legacy(task: Task) -> list[str]:
    """Compares the effect of Dirichlet tuning under the legacy formula with its effect under the right one."""
    by_key = {(e["row"], e["training"]): e["metrics"] for e in tables.full_data_entries(task)}
    out = []
    for (row, training), after in by_key.items():
        before = by_key.get((row, "zero-shot"), {})
        compared = "legacy_dirichlet" in before and "legacy_dirichlet" in after
        if training != TRAINED_FOR["dirichlet_nll"] or not compared:
            continue
        old, right, mass = (
            (before[m]["value"], after[m]["value"]) for m in ("legacy_dirichlet", "dirichlet_nll", "option_mass")
        )
        moved = f"moves by {old[1] - old[0]:+.3f} with tuning, the renormalised one by {right[1] - right[0]:+.3f}"
        out.append(
            f"{row} ({training}): the formula of arXiv 2410.07826 for the Dirichlet score {moved}; the probability on "
            f"the options' tokens goes from {mass[0]:.1%} to {mass[1]:.1%}."
        )
    return out


def data(task: Task) -> list[str]:
    """Describes the effect of the last step of each learning curve."""
    last: dict[tuple[str, str, str], Comparison] = {}
    for c in _comparisons(task, "data"):
        key = (c["a"]["row"], c["a"]["training"], c["metric"])
        if key not in last or c["a"]["share"] > last[key]["a"]["share"]:
            last[key] = c
    out = []
    for (row, training, metric), c in last.items():
        if training in TRAINED_FOR.values() and TRAINED_FOR[metric] != training:
            continue
        step = f"from {c['b']['share']:.0%} to {c['a']['share']:.0%} of the training rows".replace("%", " %")
        moved = f"{OVERVIEW[metric]} {number(c['b_value'])} to {number(c['a_value'])} ({_evidence(c)})"
        direction = "more rows still helped" if c["value"] < 0 else "more rows hurt"
        effect = direction if is_significant(c) else "no effect is shown"
        out.append(f"{row} ({training}), {step}: {effect}, {moved}.")
    return out


def caveats(task: Task) -> list[str]:
    """Lists what the intervals leave out, and the entries and seeds that are missing."""
    single: dict[str, None] = {name(e): None for c in task["comparisons"] for e in c["one_seed"]}
    absent = [name(e) for e in task["entries"] if not e["seeds"]]
    partial = [e for e in task["entries"] if 0 < len(e["seeds"]) < e["planned"]]
    counted = [f"{name(e)} ({len(e['seeds'])} of {e['planned']})" for e in partial]
    out = [f"One seed, so the spread over seeds is in no interval: {_list(list(single))}."] if single else []
    out += [f"Missing, and nothing is said of: {_list(absent)}."] if absent else []
    return out + ([f"Not all seeds are there: {_list(counted)}."] if counted else [])


def findings(task: Task) -> list[str]:
    """Returns all sentences about a task."""
    parts = (models, tuning, objective, data, against_yardsticks, people, legacy, caveats)
    return [sentence for part in parts for sentence in part(task)]
