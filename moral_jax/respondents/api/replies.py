"""What comes back: the likeliest first tokens, and what they say about the options and leave open."""

import collections
import math
from typing import Any, NamedTuple

import numpy as np

from moral_jax.runtime.strict_json import shown
from moral_jax.types import UserError

ROUNDING = 1e-6  # what float32 log-probabilities that should sum to one may be off by
MOST = 1.01  # sum of the listed probabilities, where an API rounds log-probabilities to two digits
NOTHING = -100.0  # below, an API means "too small to tell" (OpenAI writes -9999)
NAME = 200  # characters that are kept of a model's name
SPACES = str.maketrans("▁Ġ", "  ")  # how SentencePiece and byte-level vocabularies write a space

NO_LOGPROBS = (
    "the reply holds no log-probabilities of the first token, so this model cannot be scored; take a model and an "
    "endpoint that give them (logprobs, top_logprobs)"
)

NO_PROBABILITIES = (
    "the reply lists tokens whose probabilities are none ({reason}), so this model cannot be scored; take another "
    "endpoint of the model"
)


class Reply(NamedTuple):
    """What is kept of a reply. JSON."""

    top: list[tuple[str, float]]  # first tokens and their log-probabilities
    model: str  # as the API names it
    fingerprint: str
    prompt_tokens: int
    completion_tokens: int


class Bounded(NamedTuple):
    """Probabilities of the options, as far as the listed tokens tell; in the order shown."""

    mass_C: np.ndarray  # estimate of the probability of each option's tokens
    low_C: np.ndarray  # bounds of its share among the options
    high_C: np.ndarray
    missing: float  # probability of all tokens that are not listed
    unseen: list[int]  # options of which no token is listed


def _chat_top(choice: dict[str, Any]) -> list[tuple[str, Any]]:
    first = choice["logprobs"]["content"][0]
    return [(t["token"], t["logprob"]) for t in [*first["top_logprobs"], first]]


def _completions_top(choice: dict[str, Any]) -> list[tuple[str, Any]]:
    logprobs = choice["logprobs"]
    return [*logprobs["top_logprobs"][0].items(), (logprobs["tokens"][0], logprobs["token_logprobs"][0])]


TOP = {"chat": _chat_top, "completions": _completions_top}


def _number(value: Any) -> float:
    """Returns a JSON number as a float; raises TypeError for what is none, true and false too."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def _check_probabilities(top: list[tuple[str, float]]) -> None:
    """Refuses lists that no distribution has. Parts of characters may look alike, and be listed as "\ufffd" twice."""
    tokens = [token for token, _ in top if "\ufffd" not in token]
    total = sum(math.exp(logprob) for _, logprob in top)
    if len(set(tokens)) < len(tokens):
        [(token, _)] = collections.Counter(tokens).most_common(1)
        raise UserError(NO_PROBABILITIES.format(reason=f"{shown(token)} is listed twice"))
    if total > MOST:
        raise UserError(NO_PROBABILITIES.format(reason=f"their sum is {total:.4g}"))


def _text(value: Any) -> str:
    """A text that can be written down: halves of surrogate pairs, which UTF-8 does not know, become "?"."""
    return str(value).encode("utf-8", "replace").decode("utf-8")


def parse(reply: dict[str, Any], endpoint: str) -> Reply:
    """Reads a reply's first token. The one that was drawn is listed too where it is not among the likeliest.

    Raises:
      UserError: there are no log-probabilities.
    """
    try:
        *top, drawn = TOP[endpoint](reply["choices"][0])
        top = top if drawn[0] in dict(top) else [*top, drawn]
        top = [(_text(token), _number(logprob)) for token, logprob in top]
        usage = reply.get("usage") or {}
        used = [int(usage.get(field) or 0) for field in ("prompt_tokens", "completion_tokens")]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError):
        raise UserError(NO_LOGPROBS) from None
    if any(math.isnan(logprob) or logprob > ROUNDING for _, logprob in top):
        raise UserError(NO_LOGPROBS)
    _check_probabilities(top)
    return Reply(
        top=[(token, max(logprob, -1e9)) for token, logprob in top],  # JSON knows no infinity
        model=_text(reply.get("model", ""))[:NAME],
        fingerprint=_text(reply.get("system_fingerprint") or "")[:NAME],
        prompt_tokens=used[0],
        completion_tokens=used[1],
    )


def bounded(top: list[tuple[str, float]], answers: tuple[tuple[str, ...], ...]) -> Bounded:
    """The options' probabilities from the listed tokens, those of an option's spellings summed.

    A token that is not listed has between nothing and the least of the listed probabilities, and all such tokens have
    no more than what the listed leave: that bounds each option's share. The estimate takes an option's listed
    spellings as all it has; an option without any gets half of the most that it could have, where such options
    divide what is left.
    """
    listed = [(token.translate(SPACES), math.exp(logprob)) for token, logprob in top if logprob > NOTHING]
    missing = max(1 - sum(p for _, p in listed), ROUNDING)
    least = min((p for _, p in listed), default=1.0)
    seen_C = np.array([sum(p for token, p in listed if token in variants) for variants in answers], float)
    tokens = {token for token, _ in listed}
    extra_C = np.array([min(sum(v not in tokens for v in variants) * least, missing) for variants in answers])
    unseen = np.flatnonzero(seen_C == 0)
    mass_C = seen_C.copy()
    if len(unseen):
        mass_C[unseen] = min(least, missing / len(unseen)) / 2
    others_C, others_extra_C = seen_C.sum() - seen_C, np.minimum(extra_C.sum() - extra_C, missing)
    low_C = np.divide(seen_C, seen_C + others_C + others_extra_C, out=np.zeros_like(seen_C), where=seen_C > 0)
    most_C = seen_C + extra_C
    high_C = np.divide(most_C, most_C + others_C, out=np.ones_like(seen_C), where=others_C > 0)
    return Bounded(mass_C, low_C, high_C, missing, unseen.tolist())
