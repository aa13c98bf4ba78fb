"""What is known of all encoded questions together, found as they come, one after the other."""

import hashlib
from typing import NamedTuple

import numpy as np

from moral_jax.data.encode import Encoded, common_length, common_prefix
from moral_jax.types import Example, Item


class Measures(NamedTuple):
    """Sizes and contents of the entries of `layout.Questions`."""

    lengths_E: np.ndarray  # tokens in all texts of an entry
    reads_E: np.ndarray  # positions that are read
    texts_E: np.ndarray  # texts
    commons_E: np.ndarray  # tokens that these begin with in common, at least one fewer than the shortest has
    options: int  # most options of an entry
    variants: int  # most ids of an option
    largest: int  # largest token id
    reads_texts: bool  # True if whole texts are read, and not options
    shared_T: np.ndarray  # what all texts of all entries begin with, at least one token shorter than the shortest
    sha256: str  # of all that is asked: token ids, what options are read from, and votes


class Measuring:
    """Takes entries one by one."""

    def __init__(self) -> None:
        self._sizes: list[tuple[int, int, int, int]] = []
        self._options = self._variants = self._largest = 0
        self._reads_texts, self._digest = False, hashlib.sha256()
        self._shared_T: np.ndarray | None = None

    def add(self, item: Item, example: Example, encoded: Encoded) -> None:
        """Takes the next entry."""
        common = common_length([text.tokens_T for text in encoded.texts])
        self._sizes.append((encoded.length, encoded.reads, len(encoded.texts), common))
        self._options = max(self._options, encoded.options)
        self._variants = max([self._variants, *map(len, encoded.option_ids)])
        for text in encoded.texts:
            self._largest = max(self._largest, int(text.tokens_T.max()))
            self._reads_texts = text.reads_T is not None
            self._shared_T = common_prefix(self._shared_T, text.tokens_T)
            self._digest.update(text.tokens_T.tobytes())
            self._digest.update(b"" if text.reads_T is None else np.packbits(text.reads_T).tobytes())
        _, order = item
        self._digest.update(repr((example.id, example.counts, order, encoded.option_ids)).encode())

    def found(self) -> Measures:
        """Returns what is known of all that were taken."""
        lengths_E, reads_E, texts_E, commons_E = np.array(self._sizes, np.int32).reshape(-1, 4).T
        return Measures(
            lengths_E,
            reads_E,
            texts_E,
            commons_E,
            self._options,
            self._variants,
            self._largest,
            self._reads_texts,
            self._shared_T if self._shared_T is not None else np.zeros(0, np.int32),
            self._digest.hexdigest(),
        )
