"""Reads texts to learn from: conversations, completions, documents; and preferences between completions.

A text is an example with one option, a preference one with several: the prompt is the question, and a choice is a vote.
Texts with the same prompt share a key, so that they never stand on two sides of a split; so do preferences in dialogues
that begin with the same message, as data sets hold a dialogue at several lengths.
"""

import hashlib
import re
from typing import Any

from moral_jax.config.task import FieldsConfig, TaskConfig
from moral_jax.runtime.strict_json import shown
from moral_jax.tasks.rows import PLACEHOLDER, Columns, Row, described, filled
from moral_jax.tasks.votes import id_of, messages_of
from moral_jax.types import Example, UserError

ASSISTANT = "assistant"
SPEAKERS = {"human": "user", "user": "user", "assistant": ASSISTANT, "system": "system"}
SPEAKER = re.compile(r"(?:^|\n\n)(Human|User|Assistant|System):", re.I)
Turn = dict[str, str]


def _transcript(text: str) -> list[Turn] | None:
    """Returns the turns of a text like "\\n\\nHuman: ...\\n\\nAssistant: ..."; None for any other text."""
    parts = SPEAKER.split(text)
    if len(parts) < 3 or parts[0].strip():
        return None
    names, said = parts[1::2], parts[2::2]
    return [{"role": SPEAKERS[n.lower()], "content": c.strip()} for n, c in zip(names, said, strict=True)]


def _said(row: Row, field: str) -> str | list[Turn]:
    """Returns a field that is a text, or turns, or a transcript of turns."""
    value = row.get(field)
    if isinstance(value, str) and value.lstrip()[:1] not in ("[", "{"):
        if not value.strip():
            raise row.error(field, value, "a non-empty text")
        return _transcript(row.clean(field, value)) or value
    return list(messages_of(row, field)) or _refuse(row, field, value)


def _refuse(row: Row, field: str, value: Any) -> list[Turn]:
    raise row.error(field, value, "a non-empty text, or turns like {'role': ..., 'content': ...}")


def _reply(row: Row, field: str, said: str | list[Turn]) -> str:
    """Returns what the assistant says: the text, or the one turn that is left."""
    if isinstance(said, str):
        return said
    if len(said) != 1 or said[0]["role"] != ASSISTANT or not said[0]["content"].strip():
        raise row.error(field, said, "one reply of the assistant's after the turns that come before it")
    return said[0]["content"]


def opening(row: Row, field: str) -> tuple[str, list[Turn]]:
    """Returns the prompt, as a text or as turns; both are empty where there is none."""
    if not field or row.get(field) is None:
        return "", []
    said = _said(row, field)
    return (said, []) if isinstance(said, str) else ("", said)


def _example(
    row: Row,
    fields: FieldsConfig,
    prompt: str,
    turns: list[Turn],
    options: tuple[str, ...],
    counts: tuple[float, ...],
) -> Example:
    group, key = filled(row, fields.group), filled(row, fields.key)
    said = [turn["content"] for turn in turns if turn["role"] != "system"]
    begins = prompt or (said[0] if said and len(options) > 1 else "\n".join(said))
    return Example(
        id=id_of(row, fields),
        question="",
        text=prompt,
        options=options,
        counts=counts,
        keys=tuple(filter(None, [key, f"begins {_brief(begins)}" if begins else ""])),
        groups={PLACEHOLDER.sub(r"\1", fields.group): group} if group else {},
        messages=tuple(turns),
        exchangeable=True,
    )


def _brief(text: str) -> str:
    """Returns a text, or what stands for a long one: keys of all rows are held in memory."""
    return text if len(text) <= 200 else f"{text[:60]} [...] {hashlib.sha256(text.encode()).hexdigest()[:32]}"


def _weight(row: Row, fields: FieldsConfig) -> tuple[float, ...]:
    """Returns the weight of a text in training, as votes have it."""
    return row.votes(fields.weight, [row.get(fields.weight)]) if fields.weight else (1.0,)


def text_examples(row: Row, config: TaskConfig) -> list[Example]:
    """Returns the text of one row: of `messages`, of `prompt` and `completion`, or of a plain `text`.

    Raises:
      UserError: the row has none of them, or no reply to learn; names file, line and field.
    """
    fields, counts = config.fields, _weight(row, config.fields)
    if fields.completion and row.get(fields.completion) is not None:
        prompt, turns = opening(row, fields.prompt)
        reply = _reply(row, fields.completion, _said(row, fields.completion))
        return [_example(row, fields, prompt, turns, (reply,), counts)]
    if turns := list(messages_of(row, fields.messages)):
        if turns[-1]["role"] != ASSISTANT or not turns[-1]["content"].strip():
            raise row.error(fields.messages, turns[-1], "a conversation that ends with a reply of the assistant's")
        return [_example(row, fields, "", turns[:-1], (turns[-1]["content"],), counts)]
    text = filled(row, fields.text)
    if not text:
        forms = f"{fields.messages!r}, {fields.prompt!r} and {fields.completion!r}, or {fields.text!r}"
        raise row.error(fields.messages, None, f"a text to learn, in {forms}")
    if (talk := _transcript(text)) and talk[-1]["role"] == ASSISTANT and talk[-1]["content"]:
        return [_example(row, fields, "", talk[:-1], (talk[-1]["content"],), counts)]
    return [_example(row, fields, "", [], (text,), counts)]


def prompt_examples(row: Row, config: TaskConfig) -> list[Example]:
    """Returns what one row asks to be gone on from: `messages`, a `prompt`, a plain `text`, or what both dialogues of a
    pair begin with.

    Raises:
      UserError: the row has none of them, or its conversation ends with a reply; names file, line and field.
    """
    fields = config.fields
    prompt, turns = opening(row, fields.prompt)
    if not (prompt or turns):
        turns = list(messages_of(row, fields.messages))
    if not turns and not prompt:
        prompt = filled(row, fields.text) or ""
    if not (prompt or turns) and row.get(fields.chosen) is not None and row.get(fields.rejected) is not None:
        turns, _ = _of_pair(row, fields)
    if not (prompt or turns):
        raise row.error(fields.prompt, None, f"a prompt, in {fields.prompt!r}, {fields.messages!r} or {fields.text!r}")
    if turns and turns[-1]["role"] == ASSISTANT:
        raise row.error(fields.messages, turns[-1], "a conversation that waits for a reply of the assistant's")
    return [_example(row, fields, prompt, turns, ("",), (1.0,))]


def _of_pair(row: Row, fields: FieldsConfig) -> tuple[list[Turn], tuple[str, str]]:
    """Returns the turns that both dialogues of a pair begin with, and the reply in which each ends."""
    names = fields.chosen, fields.rejected
    chosen, rejected = (_said(row, name) for name in names)
    if isinstance(chosen, str) or isinstance(rejected, str):
        return [], (_reply(row, names[0], chosen), _reply(row, names[1], rejected))
    common = 0
    while common < min(len(chosen), len(rejected)) - 1 and chosen[common] == rejected[common]:
        common += 1
    replies = _reply(row, names[0], chosen[common:]), _reply(row, names[1], rejected[common:])
    return chosen[:common], replies


def preference_examples(row: Row, config: TaskConfig) -> list[Example]:
    """Returns the preference of one row: chosen and rejected, or several completions with votes.

    Raises:
      UserError: fields are missing or wrong, or two completions are the same; names file, line and field.
    """
    fields = config.fields
    prompt, turns = opening(row, fields.prompt)
    if not (prompt or turns):
        turns = list(messages_of(row, fields.messages))
    if row.get(fields.completions) is not None:
        options = tuple(row.clean(fields.completions, _text(row, fields, v)) for v in row.items(fields.completions))
        counts = row.votes(fields.counts, row.items(fields.counts, len(options)))
    else:
        before, options = _of_pair(row, fields)
        turns, counts = [*turns, *before], (1.0, 0.0)
    if len(options) < 2 or len(set(options)) < len(options):
        raise row.error(fields.completions, options, "at least two completions that all differ")
    if not (prompt or turns):
        raise row.error(fields.prompt, None, f"a prompt, in {fields.prompt!r} or {fields.messages!r}")
    return [_example(row, fields, prompt, turns, options, counts)]


def _text(row: Row, fields: FieldsConfig, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise row.error(fields.completions, value, "non-empty texts")
    return value


def check_columns(columns: Columns, fields: FieldsConfig, path: str) -> None:
    """Raises UserError if a setting names a column that no row has, unless another form of row is there."""
    defaults = FieldsConfig()
    for column in columns.missing:
        for name in (
            "id",
            "text",
            "group",
            "key",
            "messages",
            "prompt",
            "completion",
            "chosen",
            "completions",
            "weight",
        ):
            value = getattr(fields, name)
            if value != getattr(defaults, name) and column in (value, *PLACEHOLDER.findall(value)):
                raise UserError(
                    f"{path}: no row has the column {column!r} (config.task.fields.{name}={shown(value)}); columns: "
                    f"{described([*columns.names])}"
                )
