"""Cards of values, and votes on which of two is wiser: the files of a moral graph.

A card says what somebody attends to who lives by a value: {"id", "title", "policies": [...]}, and maybe the "contexts"
in which it came up. A vote says whether somebody who goes from one card to another has become wiser: {"voter", "from",
"to", "context", "answer"}, where the answer is wiser, not_wiser or unsure. A vote that was cast where several contexts
hold names a list of them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from moral_jax.runtime import strict_json
from moral_jax.runtime.strict_json import forbidden_character, shown
from moral_jax.types import UserError

ANSWERS = ("wiser", "not_wiser", "unsure")
CARD_FIELDS = ("id", "title", "policies", "contexts")
VOTE_FIELDS = ("voter", "from", "to", "context", "answer")


class Card(NamedTuple):
    """A value: what somebody attends to."""

    id: str
    title: str
    policies: tuple[str, ...]
    contexts: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The card as voters read it."""
        return "\n".join([self.title, *(f"- {policy}" for policy in self.policies)])


class Vote(NamedTuple):
    """What one voter says about going from one card to another."""

    voter: str
    source: str
    target: str
    contexts: tuple[str, ...]
    shares: tuple[float, float, float]  # of ANSWERS; of a person one of them is 1


def _text(where: str, field: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: field {field!r}: found {shown(value)}, expected a text")
    if bad := forbidden_character(value):
        raise UserError(f"{where}: field {field!r}: holds {bad}")
    return value.strip()


def _texts(where: str, field: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise UserError(f"{where}: field {field!r}: found {shown(value)}, expected a list of texts")
    return tuple(dict.fromkeys(_text(where, field, text) for text in value))


def _known(where: str, row: dict[str, Any], fields: Sequence[str]) -> None:
    if unknown := [name for name in row if name not in fields]:
        raise UserError(f"{where}: field {unknown[0]!r}: no such field; there are {', '.join(fields)}")


def read_cards(path: Path) -> list[Card]:
    """Reads cards, a JSON object a line.

    Raises:
      UserError: a field is unknown, missing or of another kind, an id comes twice, or there are fewer than two cards;
        names file, line and field.
    """
    cards: list[Card] = []
    seen: dict[str, str] = {}
    for where, row in strict_json.read_lines(path):
        _known(where, row, CARD_FIELDS)
        name = _text(where, "id", row.get("id"))
        if name in seen:
            raise UserError(f"{where}: field 'id': card {name!r} stands in {seen[name]} already; ids must differ")
        if set(name) & set(">|"):
            raise UserError(f"{where}: field 'id': found {shown(name)}, expected a name without '>' and '|'")
        seen[name] = where
        contexts = _texts(where, "contexts", row["contexts"]) if row.get("contexts") is not None else ()
        title, policies = _text(where, "title", row.get("title")), _texts(where, "policies", row.get("policies"))
        cards.append(Card(name, title, policies, contexts))
    if len(cards) < 2:
        raise UserError(f"{path}: holds {len(cards)} cards; expected at least two")
    return cards


def read_votes(path: Path, cards: Sequence[Card]) -> list[Vote]:
    """Reads people's votes, a JSON object a line.

    Raises:
      UserError: a field is unknown, missing or of another kind, a card does not exist or is compared with itself, or a
        voter votes twice on the same question; names file, line and field.
    """
    known, votes = {card.id for card in cards}, []
    seen: dict[tuple[str, ...], str] = {}
    for where, row in strict_json.read_lines(path):
        _known(where, row, VOTE_FIELDS)
        for field in ("from", "to"):
            if row.get(field) not in known:
                near = ", ".join(map(repr, sorted(known)[:8])) + (" ..." if len(known) > 8 else "")
                raise UserError(f"{where}: field {field!r}: found {shown(row.get(field))}, expected a card: {near}")
        if row["from"] == row["to"]:
            raise UserError(f"{where}: field 'to': found {shown(row['to'])}, expected another card than 'from'")
        if row.get("answer") not in ANSWERS:
            found = shown(row.get("answer"))
            raise UserError(f"{where}: field 'answer': found {found}, expected one of {', '.join(ANSWERS)}")
        context = row.get("context")
        contexts = _texts(where, "context", context if isinstance(context, list) else [context])
        wiser, not_wiser, unsure = (float(row["answer"] == answer) for answer in ANSWERS)
        voter = _text(where, "voter", row.get("voter"))
        vote = Vote(voter, row["from"], row["to"], contexts, (wiser, not_wiser, unsure))
        for context in contexts:
            key = (vote.voter, vote.source, vote.target, context)
            if key in seen:
                raise UserError(
                    f"{where}: {vote.voter!r} has voted on {vote.source!r} to {vote.target!r} in {context!r} in "
                    f"{seen[key]} already; a voter has one vote on a question"
                )
            seen[key] = where
        votes.append(vote)
    if not votes:
        raise UserError(f"{path}: holds no votes")
    return votes
