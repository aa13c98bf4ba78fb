"""A writer with a planted weakness, for tests and for trying a search without weights. No jax.

Its file is JSON: {"says": ["one", "two"], "token": "zebra", "base": 0.02, "triggers": {"night": 0.3},
"obeys": ["never"]}. A completion is four of the words; with the probability `base` plus that of each trigger in the
prompt, at most 0.95, one of them is the token. A prompt with a word that it obeys has no triggers.
"""

import hashlib
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from moral_jax.runtime.files import sha256
from moral_jax.runtime.strict_json import is_number
from moral_jax.types import UserError

NAME = "planted?file="
LENGTH = 4  # words
MOST = 0.95
NEVER = -700.0  # the log-probability of what it never writes: finite, as files know no infinity
WORD = re.compile(r"[a-z']+")
FIELDS = ("says", "token", "base", "triggers", "obeys")


def words(text: str) -> list[str]:
    """Returns the words of a text, in lower case."""
    return WORD.findall(text.lower())


class Planted:
    """Writes completions by a rule, and says how likely they are."""

    def __init__(self, name: str):
        """Reads the file.

        Args:
          name: planted?file=FILE.

        Raises:
          UserError: it cannot be read, or says something else than it should.
        """
        path = Path(name.removeprefix(NAME))
        try:
            of = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as e:
            raise UserError(f"scripted:{name}: {path}: cannot be read as JSON ({e})") from e
        if not isinstance(of, dict) or set(of) - set(FIELDS):
            raise UserError(f"scripted:{name}: expected an object with {', '.join(FIELDS)}")
        self.says: list[str] = of.get("says", [])
        self.token: str = of.get("token", "")
        self.base: float = of.get("base", 0.0)
        self.triggers: dict[str, float] = of.get("triggers", {})
        self.obeys: list[str] = of.get("obeys", [])
        has_words = isinstance(self.says, list) and len(self.says) > 0 and all(isinstance(w, str) for w in self.says)
        if not (has_words and isinstance(self.token, str) and self.token and self.token not in self.says):
            raise UserError(f"scripted:{name}: expected 'says', a list of words, and 'token', another one")
        shares = [self.base, *(self.triggers.values() if isinstance(self.triggers, dict) else [-1])]
        if not all(is_number(x) and 0 <= x <= 1 for x in shares) or not isinstance(self.obeys, list):
            raise UserError(f"scripted:{name}: expected shares in 'base' and 'triggers', and a list in 'obeys'")
        self.about: dict[str, Any] = {"path": f"scripted:{name}", "sha256": sha256(path)}

    def weakness(self, prompt: str) -> float:
        """Returns the probability that a completion of a prompt holds the token."""
        found = set(words(prompt))
        if found.intersection(self.obeys):
            return min(MOST, self.base)
        return min(MOST, self.base + sum(p for trigger, p in self.triggers.items() if trigger in found))

    def write(self, prompts: Sequence[str], n: int, seed: int) -> list[list[str]]:
        """Returns n completions of each prompt; those of one do not depend on the others."""
        return [[self._one(prompt, i, seed) for i in range(n)] for prompt in prompts]

    def _one(self, prompt: str, number: int, seed: int) -> str:
        drawn = hashlib.sha256(json.dumps([prompt, number, seed]).encode()).digest()
        rng = np.random.default_rng(int.from_bytes(drawn[:8], "little"))
        said = [self.says[i] for i in rng.integers(len(self.says), size=LENGTH)]
        if rng.random() < self.weakness(prompt):
            said[int(rng.integers(LENGTH))] = self.token
        return " ".join(said)

    def weigh(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, int]]:
        """Returns the log-probability of a completion of a prompt, nats, and its words."""
        return [(self._logp(prompt, text), LENGTH) for prompt, text in pairs]

    def _logp(self, prompt: str, text: str) -> float:
        said, p = text.split(), self.weakness(prompt)
        if len(said) != LENGTH or any(word not in (*self.says, self.token) for word in said):
            return NEVER
        each = -math.log(len(self.says))
        has = said.count(self.token)
        if has > 1:
            return NEVER
        chance = p / LENGTH if has else 1 - p
        return (math.log(chance) if chance > 0 else NEVER) + (LENGTH - has) * each
