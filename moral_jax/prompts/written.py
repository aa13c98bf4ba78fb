"""Texts that are read token by token, as the renderers of `completions` return them."""

import dataclasses
from typing import NamedTuple


class Span(NamedTuple):
    """A part of a text, which is read (its tokens' probabilities are asked for) or not."""

    text: str
    is_read: bool


@dataclasses.dataclass(frozen=True)
class Written:
    """Texts that are read token by token: completions of a prompt, or documents."""

    spans: tuple[tuple[Span, ...], ...]  # of one text for each option
    has_specials: bool  # the texts spell out their own BOS, as chat templates do
    adds_end: bool  # the end token follows, as a part of the last span
    ends_turns: bool = False  # each span that is read must end with a control token, which ends the turn

    @property
    def reads_last(self) -> bool:
        """What is read comes after the last token that was shown."""
        return True

    @property
    def texts(self) -> tuple[tuple[str, ...], ...]:
        return tuple(("".join(span.text for span in spans),) for spans in self.spans)
