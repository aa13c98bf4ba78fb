"""Fields that had another name in version 0.1: read for one version, and answered with the new name."""

import re
from typing import Any

RENAMED = {
    "prompt.cue": "prompt.answer_prefix",
    "train.keep": "train.select",
    "train.orders": "train.orders_per_epoch",
    "objective.concentration_value": "objective.initial_concentration",
    "eval.before": "eval.initial",
}
# one word was three settings: what each of its values sets now
FAMILY = "prompt.family"
FAMILIES: dict[str, dict[str, Any]] = {
    "clean": {"prompt.format": None},  # the default, which is chat where a vocabulary answers
    "plain": {"prompt.format": "plain"},
    "paper": {"prompt.format": "paper"},
    "each": {"model.head": "score"},
    "classes": {"model.head": "classes"},
}


def replacement(name: str, value: Any) -> dict[str, Any] | None:
    """Returns the fields, with values, that a field of version 0.1 stands for; None if the name is not an old one."""
    if name in RENAMED:
        return {RENAMED[name]: value}
    return FAMILIES.get(value) if name == FAMILY and isinstance(value, str) else None


def hint(name: str) -> str:
    """Returns the name that an old field has now, in words; empty if the name is not an old one."""
    if name == FAMILY:
        return "prompt.family is prompt.format (chat, plain, paper) and model.head (vocabulary, score, classes) now"
    return f"{name} is {RENAMED[name]} now" if name in RENAMED else ""


def hint_for_missing(message: str) -> str:
    """Returns the hint for an old field whose short name an error of a locked ConfigDict quotes; empty for others."""
    missing = re.search(r'Key "(\w+)" does not exist', message)
    names = (name for name in (*RENAMED, FAMILY) if missing and name.endswith(f".{missing[1]}"))
    return next(map(hint, names), "")


def _answered_by(path: str) -> dict[str, Any]:
    """Returns the fields that version 0.1 wrote into model.path where no local model answered."""
    kind, _, name = path.partition(":")
    if kind == "baseline":
        return {"respondent.kind": "baseline", "respondent.name": name}
    if kind != "api":
        return {"model.path": path}
    name, _, where = name.partition(" at ")
    url, _, top = where.partition(", ")
    count = top.partition(" ")[0]
    if not count.isdecimal():
        return {"model.path": path}
    endpoint = "chat" if url.endswith("/chat/completions") else "completions"
    base = url.removesuffix("/chat/completions").removesuffix("/completions")
    return {
        "respondent.kind": "api",
        "respondent.name": name,
        "respondent.base_url": base,
        "respondent.endpoint": endpoint,
        "respondent.top_logprobs": int(count),
    }


def modernise(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the nested dict of a saved config with the fields of version 0.1 under their new names."""
    out: dict[str, Any] = {name: {} if isinstance(fields, dict) else fields for name, fields in values.items()}
    for section, fields in values.items():
        for field, value in fields.items() if isinstance(fields, dict) else ():
            for new_name, new_value in _modern(f"{section}.{field}", value).items():
                new_section, _, new_field = new_name.partition(".")
                out.setdefault(new_section, {})[new_field] = new_value
    return out


def _modern(name: str, value: Any) -> dict[str, Any]:
    if name == "model.path" and isinstance(value, str):
        return _answered_by(value)
    new = replacement(name, value)
    return {name: value} if new is None else new
