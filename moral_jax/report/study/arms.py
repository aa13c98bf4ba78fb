"""Puts the table of arms of a study into words: what each way of training ends in, and how the ways differ."""

from typing import Any

from moral_jax.report.study.tables import MISSING, NOT_PLANNED
from moral_jax.report.words import Table, interval, number, side

Arms = dict[str, Any]


def _value(arm: dict[str, Any], label: str) -> str:
    """Formats a mean with its interval and the range of its seeds."""
    value = arm["values"].get(label)
    if value is None:
        return MISSING
    seeds, found = value["by_seed"], interval({k: v for k, v in value.items() if k != "by_seed"})
    fewer = f", {len(seeds)} of {arm['planned']} seeds" if len(seeds) < arm["planned"] else ""
    return f"{found} ({number(min(seeds))} to {number(max(seeds))}{fewer})" if len(seeds) > 1 else found + fewer


def _tokens(arm: dict[str, Any]) -> str:
    """Formats the tokens of each stage, in their order."""
    said = []
    for stage in arm["stages"]:
        tokens = stage["tokens"]
        said.append(f"{stage['name']} {round(sum(tokens) / len(tokens)):,}" if tokens else f"{stage['name']} {MISSING}")
    return " + ".join(said) or NOT_PLANNED


def table(arms: Arms) -> Table:
    """Returns a row for each arm: every measure, and the tokens that each stage has read."""
    labels = [m["label"] for m in arms["measures"]]
    rows = [[arm["name"], *(_value(arm, label) for label in labels), _tokens(arm)] for arm in arms["arms"]]
    if any(m["chance"] is not None for m in arms["measures"]):
        known = ["" if m["chance"] is None else number(m["chance"]) for m in arms["measures"]]
        rows.append(["without any knowledge", *known, ""])
    return Table(["arm", *labels, "tokens of each stage"], rows)


def contrasts(arms: Arms) -> Table | None:
    """Returns a row for each planned difference; None if there are none."""
    labels = [m["label"] for m in arms["measures"]]
    rows = [
        [f"{c['a']} − {c['b']}", *(interval(c["values"][m]) if m in c["values"] else MISSING for m in labels)]
        for c in arms["contrasts"]
    ]
    return Table(["one arm minus another", *labels], rows) if rows else None


def findings(arms: Arms) -> list[str]:
    """Returns a sentence for each difference of the first measure, and one on what follows."""
    label = arms["measures"][0]["label"]
    known = [(c, c["values"][label]) for c in arms["contrasts"] if label in c["values"]]
    out = []
    for c, difference in known:
        if (way := side(difference)) == 0:
            said = f"is not shown to differ between “{c['a']}” and “{c['b']}”"
        else:
            said = f"is {'higher' if way > 0 else 'lower'} after “{c['a']}” than after “{c['b']}”"
        out.append(f"{label.capitalize()} {said}: {interval(difference)}.")
    if known:
        shown = sum(side(d) != 0 for _, d in known)
        out.append(
            f"{shown} of {len(known)} intervals leave out 0; they are not corrected for how many there are. "
            "A difference to an arm of as many tokens comes from the order or the content of the stages, for this "
            "model, these rows and these settings. It says nothing about other models, about rows of another kind, "
            "or about whether the model has reasons."
        )
    if any(len(v["by_seed"]) < arm["planned"] for arm in arms["arms"] for v in arm["values"].values()):
        out.append("Seeds are missing: where an arm has only one, its intervals leave out what other seeds would add.")
    return out
