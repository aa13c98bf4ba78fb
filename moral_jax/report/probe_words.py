"""Says in sentences what the numbers of a probe hold, and what does not follow from them."""

from collections.abc import Mapping
from typing import Any

from moral_jax.report.words import Estimate, interval, number

Numbers = Mapping[str, Any]


def _above(e: Numbers | None) -> bool:
    """Returns true for a difference that is above 0 beyond doubt."""
    return e is not None and e.get("low", e["value"]) > 0


def seen_said(who: str, of: Numbers, found: Numbers, label: str) -> str:
    """Says what a respondent's probe comes to."""
    c = of["chosen"]
    control = "no word recurs, so there is no control task"
    if "control" in c:
        e = c["control"]
        control = (
            f"control labels {interval(e)} (labellings: {number(e['least'])} to {number(e['most'])}), selectivity "
            f"{interval(c['selectivity'])}"
        )
    return (
        f"{who}: from the states of a layer that is chosen inside the training rows, a linear probe tells {label} in "
        f"{interval(c['accuracy'])} of held-out rows; {control}; words alone {interval(found['words'])}; the most "
        f"frequent label {number(found['floor'])}."
    )


def _beyond(c: Numbers) -> bool:
    """Returns true for a probe that finds more than shuffled labels, words alone and control labels give."""
    selective = "selectivity" not in c or _above(c["selectivity"])
    return c["accuracy"]["value"] > c["shuffled_95"] and _above(c["above_words"]) and selective


def _holds(of: Numbers) -> str:
    """Says whether a probe finds more than words, controls and luck give."""
    c = of["chosen"]
    if c["accuracy"]["value"] <= c["shuffled_95"]:
        return (
            f"That is no more than shuffled labels reach (95 of 100 stay below {number(c['shuffled_95'])}): nothing "
            f"was found, which does not say that nothing is there."
        )
    if not _above(c["above_words"]):
        return (
            "A probe on words alone is not clearly worse, so this says no more than that the words are in the states."
        )
    if "selectivity" in c and not _above(c["selectivity"]):
        return (
            f"That is more than words alone and shuffled labels give ({number(c['shuffled_95'])}), but not clearly "
            f"more than control labels: random labels of words are read out as well, so it may be the probe's own "
            f"capacity."
        )
    return "That is more than words alone, control labels and shuffled labels give: these states hold it."


def judged(who: str, of: Numbers, *, of_answer: bool) -> list[str]:
    """Says what follows of a respondent's numbers.

    Args:
      of_answer: true if the label is the right option, so that probe and answer can be compared.
    """
    layers = of["layers"]
    best = max(range(len(layers)), key=lambda at: layers[at]["accuracy"]["value"])
    said = [
        f"{_holds(of)} The highest layer of {len(layers)} is {best} ({number(layers[best]['accuracy']['value'])}); "
        f"picked for that, it is flattered: with shuffled labels the best one stays below "
        f"{number(of['shuffled']['best_layer_95'])} in 95 of 100 labellings."
    ]
    last = layers[-1]
    if "logit_difference" not in last:
        return [*said, f"{who} has no trained head, so no layer is read through it."]
    e, right = last["logit_difference"], last["lens_accuracy"]
    said.append(
        f"{who} itself gives the right option log-odds of {interval(e)} nats, and takes it in {interval(right)} of the "
        f"rows."
    )
    accuracy, most = of["chosen"]["accuracy"], right.get("high", right["value"])
    if of_answer and _beyond(of["chosen"]) and "low" in accuracy and accuracy["low"] > most:
        said.append("The probe finds more than the answer says; whether anything in the model reads it is open.")
    return said


def pair_said(pair: Numbers, found: Numbers) -> list[str]:
    """Says how two respondents differ."""
    first, other = pair["names"]
    layers = [(at, layer) for at, layer in enumerate(pair["layers"]) if layer["cka"] is not None]
    if not layers:
        return [f"{first} and {other}: all states are constant."]
    least, of_least = min(layers, key=lambda item: item[1]["cka"])
    low, high = of_least["band"]
    said = [
        f"{first} and {other}: debiased CKA is lowest in layer {least} ({number(of_least['cka'])}; rows shuffled: "
        f"{number(low)} to {number(high)}) and {number(layers[-1][1]['cka'])} in the last."
    ]
    if not pair["same_shape"]:
        return [*said, "Their layers have other widths or numbers, so directions cannot be compared."]
    if len(found["classes"]) != 2:
        return [*said, f"A direction lies between two classes; there are {len(found['classes'])}."]
    accuracies = [layer["accuracy"]["value"] for layer in found["respondents"][first]["layers"]]
    at = max((at for at, layer in layers if layer["direction"]), key=lambda i: accuracies[i], default=None)
    if at is None:
        return said
    d = pair["layers"][at]["direction"]
    return [
        *said,
        f"In layer {at}, where {first}'s probe is best, the directions have cosine {interval(d['cosine'])} on the same "
        f"rows; on other rows {number(d['across'])} across, {number(d['within_first'])} within {first}, "
        f"{number(d['within_other'])} within {other}.",
        f"There {first}'s classes lie {interval(d['gap_first'])} standard deviations apart on its own direction, "
        f"{other}'s {interval(d['gap_other'])}: {_change(d['gap_change'])}.",
    ]


def _change(e: Estimate) -> str:
    if "low" in e and e["low"] <= 0 <= e["high"]:
        return f"no clear change ({interval(e)})"
    return f"{'further apart' if e['value'] > 0 else 'nearer'} ({interval(e)})"
