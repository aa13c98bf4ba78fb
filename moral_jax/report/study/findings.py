"""Puts the results of a study into sentences that follow from the numbers and claim no more than the intervals do."""

from typing import Any

from moral_jax.report.study import tables
from moral_jax.report.study.tables import OVERVIEW, Task, name
from moral_jax.report.words import number, side, votes_worth

LEVEL = 0.05
TRAINED_FOR = {"cross_entropy": "CE-tuned", "dirichlet_nll": "Dirichlet-tuned"}
Comparison = dict[str, Any]


def is_significant(c: Comparison) -> bool:
    """Returns true if a difference is beyond doubt by its interval, and p is below LEVEL in its family."""
    return side(c) != 0 and c["p_family"] < LEVEL


def _evidence(c: Comparison) -> str:
    """Formats a difference with its interval, and with p only where it carries a claim."""
    if "low" not in c:
        return f"difference {c['value']:+.3f}, too few questions for an interval"
    p = f", {_p(c)}" if is_significant(c) else ""
    return f"difference {c['value']:+.3f}, 95 % interval {c['low']:+.3f} to {c['high']:+.3f}{p}"


def _p(c: Comparison) -> str:
    """Formats the p-value within the family as "p = 0.012" or "p ≤ 0.0001"."""
    return f"p {tables.p_value(c['p_family'], c['p_family_is_bound'])}"


def _at_most(c: Comparison) -> str:
    """Formats how far the one of a comparison may be below and above the other."""
    if "low" not in c:
        return "too few questions"
    ends = (f"{-c['low']:.3f} lower" if c["low"] < 0 else "", f"{c['high']:.3f} higher" if c["high"] > 0 else "")
    return "at most " + " or ".join(e for e in ends if e)


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
        best = task["lowest"].get(metric)
        against = [c for c in _comparisons(task, "models") if c["metric"] == metric and c["a"] == best]
        if not against:
            continue
        beaten = [f"{name(c['b'])} ({number(c['b_value'])}, {_p(c)})" for c in against if is_significant(c)]
        level = [
            f"{name(c['b'])} ({number(c['b_value'])}; {_at_most(c)})" for c in against if not is_significant(c)
        ]  # fmt: skip
        parts = [f"lower than {_list(beaten)}"] if beaten else []
        parts += [f"not told apart from {_list(level)}"] if level else []
        out.append(f"Lowest {words}: {name(best)} with {number(against[0]['a_value'])}, {'; '.join(parts)}.")
    return out


def against_constant(task: Task) -> list[str]:
    """Sorts entries by cross-entropy: worse than, not told apart from, and better than the best constant answer."""
    tests = [c for c in _comparisons(task, "constant") if c["metric"] == "cross_entropy"]
    if not tests:
        return []
    ways = {name(e): e["metrics"].get("way_to_true_shares") for e in tables.full_data_entries(task)}
    sides: dict[int, list[str]] = {1: [], 0: [], -1: []}
    for c in tests:
        which, way = side(c) if is_significant(c) else 0, ways.get(name(c["a"]))
        far = f" ({way['value']:.0%} of the way to the true shares)".replace("%", " %") if which < 0 and way else ""
        sides[which].append(name(c["a"]) + far)
    constant = number(tests[0]["b_value"])
    said = {
        1: f"Worse in cross-entropy than one constant answer ({constant})",
        0: f"Not told apart in cross-entropy from one constant answer ({constant})",
        -1: f"Better in cross-entropy than any constant answer ({constant})",
    }
    return [f"{said[which]}: {_list(names)}." for which, names in sides.items() if names]


def people(task: Task) -> list[str]:
    """Compares the model of lowest cross-entropy with a second panel's votes, taken as a prediction, and in votes."""
    best = task["lowest"].get("cross_entropy")
    tests = [c for c in _comparisons(task, "people") if c["metric"] == "cross_entropy" and c["a"] == best]
    if not tests:
        return []
    [c] = tests
    position = {1: "above that", -1: "below that", 0: "not told apart from that"}[side(c) if is_significant(c) else 0]
    out = [
        f"As many other people, their votes taken as a prediction, come to a cross-entropy of {number(c['b_value'])}; "
        f"{name(best)}, the lowest here, is {position} ({number(c['a_value'])}; {_evidence(c)})."
    ]
    curve = task.get("votes_curve")
    [worth] = [e["metrics"].get("worth_in_votes") for e in task["entries"] if _is(e, best)]
    if curve and worth:
        steps = ", ".join(f"{number(x)}" for x in curve[1:6])
        out.append(
            f"A prediction from 1, 2, ... votes of other people comes to {steps}: {name(best)} is worth "
            f"{votes_worth(worth, len(curve) - 1)}."
        )
    return out


def _is(e: dict[str, Any], key: dict[str, Any]) -> bool:
    return all(e[field] == value for field, value in key.items())


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
    out += [f"{name(a)} gives the same numbers as {name(b)}, which alone is compared." for a, b in task["same"]]
    out += [f"Not all seeds are there: {_list(counted)}."] if counted else []
    if not task.get("keys_known", True):
        out.append("These records do not say which questions share an action, so all count as independent.")
    return out


def findings(task: Task) -> list[str]:
    """Returns all sentences about a task."""
    parts = (models, tuning, objective, data, against_constant, people, legacy, caveats)
    return [sentence for part in parts for sentence in part(task)]
