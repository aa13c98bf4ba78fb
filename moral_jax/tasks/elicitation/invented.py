"""Takes the meaning of words, or the numbers, out of a text: the floor of an elicitation.

Who still orders outcomes whose words are invented goes by the numbers; who orders them as before without numbers goes
by the words.
"""

import hashlib
import re

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
NUMBER = re.compile(r"[$€£]?\s?\d[\d,]*(?:\.\d+)?\s?%?")
# Words that join others and carry no good, and those that count: they stay.
KEPT = frozenset(
    (  # noqa: SIM905  (a list of a hundred words in quotes cannot be read)
        "a an the of to in on at by for from with and or not no than as if is are was were be been being has have had "
        "do does did will would can could may might you your yours it its they their them he she his her we our us "
        "this that these those there which who what when where into out up over under between per each every all some "
        "any more most less least few fewer many much one two three four five six seven eight nine ten hundred "
        "thousand million billion half twice"
    ).split()
)
STARTS, MIDDLES = ["b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z"], ["a", "e", "i", "o", "u"]


def word(real: str) -> str:
    """Returns the invented word that always stands for a word: two or three syllables by its hash."""
    digest = hashlib.sha256(real.casefold().encode()).digest()
    syllables = [
        STARTS[a % len(STARTS)] + MIDDLES[b % len(MIDDLES)] for a, b in zip(digest[0:6:2], digest[1:6:2], strict=True)
    ]
    made = "".join(syllables[: 2 + digest[6] % 2])
    return made.capitalize() if real[:1].isupper() else made


def without_words(text: str) -> str:
    """Returns a text with invented words in place of all that mean something; numbers stay."""
    return WORD.sub(lambda match: match[0] if match[0].casefold() in KEPT else word(match[0]), text)


def without_numbers(text: str) -> str:
    """Returns a text without numbers, currency and per cent signs beside them."""
    return " ".join(NUMBER.sub(" ", text).split())


def has_number(text: str) -> bool:
    """Returns true if a text holds a digit."""
    return any(c.isdigit() for c in text)
