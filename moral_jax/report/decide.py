"""Writes the page of a decision: the choice first, then scores, the Pareto set, and the trace of why."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from moral_jax.report import blocks, plots
from moral_jax.report.blocks import Block
from moral_jax.report.page import Written
from moral_jax.report.words import Table, number

Numbers = Mapping[str, Any]
REASONS = 3  # that the verdict names
DIVIDED = (
    "Divided: each context's column of the profile is divided by its sum, so that all contexts count by their "
    "probability; as they are: a context in which little holds counts little. A dominated action is no better than "
    "another under any prescript, and worse under one. The columns of prescripts are utilities."
)


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _scores(found: Numbers, utilities: Mapping[str, Mapping[str, float]], texts: Mapping[str, str]) -> Table:
    """Returns a line an action, the best first."""
    divided, plain = found["scores"]["divided"], found["scores"]["as they are"]
    used = found["used"]
    header = [
        "action",
        "score, divided",
        "score, as they are",
        "probability",
        "Pareto",
        *next(iter(utilities.values())),
        "",
    ]
    rows = []
    for action in sorted(used, key=lambda a: -used[a]):
        mark = "yes" if action in found["pareto"] else "dominated"
        of = [f"{u:+g}" for u in utilities[action].values()]
        rows.append([action, _signed(divided[action]), _signed(plain[action]), number(found["probabilities"][action]),
                     mark, *of, texts[action]])  # fmt: skip
    return Table(header, rows)


def _trace(found: Numbers) -> Table:
    """Returns what each prescript in each context adds to every action's score."""
    actions = list(found["trace"][0]["adds"])
    header = ["context", "prescript", "P", "weight", "weight x P", "used", *actions]
    rows = [
        [t["context"], t["prescript"], *(number(t[k]) for k in ("p", "weight", "profile", "used")),
         *(_signed(t["adds"][a]) for a in actions)]
        for t in found["trace"]
    ]  # fmt: skip
    used = found["used"]
    return Table(header, [*rows, ["all", "", "", "", "", "", *(_signed(used[a]) for a in actions)]])


def _weights(found: Numbers) -> Table:
    divided, plain = found["weights"]["divided"], found["weights"]["as they are"]
    rows = [[name, number(divided[name]), number(plain[name])] for name in divided]
    return Table(["prescript", "divided", "as they are"], rows)


def _reasons(found: Numbers) -> list[str]:
    """Returns what puts the best ahead of the second, and what holds it back, most first."""
    best, second = found["best"], found["second"]
    moved = [(t["adds"][best] - t["adds"][second], t) for t in found["trace"]]
    moved.sort(key=lambda item: -abs(item[0]))
    return [f"{t['prescript']} in {t['context']} {_signed(d)}" for d, t in moved[:REASONS]]


def drawn(found: Numbers) -> str:
    """Draws what each prescript adds to each action's score, and the score."""
    used = found["used"]
    actions = sorted(used, key=lambda a: used[a])
    prescripts = list(dict.fromkeys(t["prescript"] for t in found["trace"]))
    adds = {
        (a, e): sum(t["adds"][a] for t in found["trace"] if t["prescript"] == e) for a in actions for e in prescripts
    }

    def draw(axes: Axes) -> None:
        for y, action in enumerate(actions):
            ends = {True: 0.0, False: 0.0}
            for i, prescript in enumerate(prescripts):
                width = adds[action, prescript]
                axes.barh(y, width, left=ends[width > 0], height=0.6, color=plots.SERIES[i % len(plots.SERIES)],
                          label=prescript if y == 0 else None)  # fmt: skip
                ends[width > 0] += width
        axes.plot([used[a] for a in actions], range(len(actions)), "D", color=plots.INK, markersize=5, label="score")
        axes.axvline(0, color=plots.INK, linewidth=0.8)
        axes.set_yticks(range(len(actions)), actions)
        axes.set_xlabel("expected utility")
        plots.legend_below(axes, 4)

    return plots.svg(draw, height=1.5 + 0.4 * len(actions))


def _said(found: Numbers, rule: Numbers, texts: Mapping[str, str]) -> list[str]:
    """Says what was chosen and why, and what would change it."""
    best, second, choice = found["best"], found["second"], found["choice"]
    if choice is None:
        said = [f"Nothing is chosen: {found['why']}."]
    else:
        said = [f"Chosen: {choice} ({texts[choice]}) Why: {found['why']}."]
    said.append(
        f"{best} has {_signed(found['used'][best])}, {second} {_signed(found['used'][second])}: ahead by "
        f"{number(found['margin'])}, most of it by {'; '.join(_reasons(found))}."
    )
    if choice is not None and choice not in found["pareto"]:
        said.append(f"{choice} is dominated: another action is at least as good under every prescript.")
    said.append(f"Pareto set: {', '.join(found['pareto'])}.")
    off = found["off by"]
    other = "" if found["best as they are"] == best else ", which is another one"
    said.append(
        f"Without dividing columns the best is {found['best as they are']}{other}; it stays so "
        + ("whatever P is." if off is None or off >= 1 else f"while no P is off by more than {number(off)}.")
    )
    if found["again"] is not None:
        said.append(
            f"Where the observations are drawn again, the same action is best in {found['again']:.0%} of draws."
        )
    same = found["same to all"]
    ends = f"would choose {same}" if same else "would choose nothing"
    read = "the same, so here P changes nothing" if same == best else "so here P matters"
    said.append(f"Who says the same P of every prescript {ends}: {read}.")
    return said


def write(
    folder: Path, about: Numbers, decisions: Mapping[str, Numbers], rule: Numbers,
    utilities: Mapping[str, Mapping[str, float]], texts: Mapping[str, str],
) -> Written:  # fmt: skip
    """Writes report.html and report.md.

    Args:
      about: title, subtitle and "sample", true if the case is made up.
      decisions: source of P -> decision, as `analysis.decide.decide` returns it.
      rule: how was chosen.
      utilities: action -> prescript -> utility.
      texts: action -> its words.
    """
    several, verdict, parts, printed = len(decisions) > 1, [], [], []
    for who, numbers in decisions.items():
        found = {**numbers, "used": numbers["scores"]["divided" if rule["normalise"] else "as they are"]}
        lead = f"{who}: " if several else ""
        verdict += [f"{lead}{said}" for said in _said(found, rule, texts)]
        scores = _scores(found, utilities, texts)
        printed += [(who if several else "", scores), ("", _trace(found))]
        caption = "What each prescript adds to each action's score, over all contexts; diamonds are the scores."
        parts += [
            Block(f"{lead}Scores", scores, pictures=((drawn(found), caption),),
                  note=DIVIDED),
            Block(f"{lead}Why", _trace(found), note="Used is the profile that decides: weight x P, divided or not. The "
                  "columns of actions hold utility x used x probability of the context, and sum to the score."),
            Block(f"{lead}What prescripts weigh", _weights(found)),
        ]  # fmt: skip
    if about["sample"]:
        verdict.append("The case is a sample that was made up for this project, with its numbers.")
    return blocks.write(folder, about["title"], about["subtitle"], verdict, parts, printed)
