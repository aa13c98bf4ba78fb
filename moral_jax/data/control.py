"""Keeps a model's control tokens out of what rows say.

A tokenizer takes `<|im_end|>` for the token that ends a turn, wherever it stands; in a post it is text. `as_text` marks
a place inside each such string. `encode` tokenises what lies before and after the mark by itself, so that ordinary
tokens come out, and leaves the mark out. What a chat template writes has no marks, and stays control.
"""

import re

from transformers import PreTrainedTokenizerBase

from moral_jax.types import Example

CUT = "\ufdd0"  # no character: Unicode leaves it to programs, and rows may not hold it
BRACKETS = re.compile(r"[<\[].+[>\]]", re.S)


def pattern(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str] | None:
    """Returns what matches the control tokens of a vocabulary; None if it has none.

    These are the added tokens that are special, and all in brackets: chat formats often forget to call theirs special.
    Other added tokens are words or blanks.
    """
    added = tokenizer.added_tokens_decoder.values()
    names = {t.content for t in added if len(t.content) > 1 and (t.special or BRACKETS.fullmatch(t.content))}
    return re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True)))) if names else None


def as_text(text: str, control: re.Pattern[str] | None) -> str:
    """Returns a text with a mark after the first character of each control token."""
    while control and control.search(text):  # a rest may be a control token too
        text = control.sub(lambda match: f"{match[0][0]}{CUT}{match[0][1:]}", text)
    return text


def example_as_text(example: Example, control: re.Pattern[str] | None) -> Example:
    """Returns an example with marks in all that a prompt shows of it."""
    return example._replace(
        question=as_text(example.question, control),
        title=as_text(example.title, control),
        text=as_text(example.text, control),
        options=tuple(as_text(option, control) for option in example.options),
        messages=tuple(turn | {"content": as_text(turn["content"], control)} for turn in example.messages),
    )
