"""Keeps the encoded questions of a large set on disk: tokenised once into the cache as one Arrow file, then mapped into
memory, so that a corpus larger than the memory can be trained on, and a run starts again at once.

CACHE/tokens/KEY.arrow has a row per entry: its token ids by text, and where they differ from the usual, token types and
what is read. KEY.npz has the measures of all entries, which are looked at when batches are planned; it is written last.
"""

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from filelock import FileLock

from moral_jax.data.encode import Encoded
from moral_jax.data.measures import Measures, Measuring
from moral_jax.data.tokens import Text
from moral_jax.runtime import arrow
from moral_jax.runtime.files import cache_folder, storage_errors
from moral_jax.types import Example, Item

VERSION = 2  # of the format, and of how questions are encoded
COLUMNS = ("tokens", "types", "reads", "option_ids")


class Entry(NamedTuple):
    """One entry as it is made."""

    place: int  # of its item among those that were asked for
    item: Item
    example: Example
    encoded: Encoded
    is_cut: bool  # the item was shortened, or this is a piece of it


class KeptTexts(Sequence[Encoded]):
    """Encoded questions of a memory-mapped file."""

    def __init__(self, file: Path):
        self._rows = arrow.read(file).with_format("arrow")

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> Encoded: ...
    @overload
    def __getitem__(self, place: slice) -> list[Encoded]: ...
    def __getitem__(self, place: int | slice) -> Encoded | list[Encoded]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        row = self._rows[place]
        tokens, types, reads, option_ids = (row[name][0].values for name in COLUMNS)
        texts = []
        for i, tokens_T in enumerate(map(_array, tokens)):
            types_T = _array(types[i]) if len(types) else np.zeros(len(tokens_T), np.int32)
            texts.append(Text(tokens_T, types_T, _array(reads[i]) if len(reads) else None))
        return Encoded(tuple(texts), tuple(tuple(ids) for ids in option_ids.to_pylist()))


def _array(values: Any) -> np.ndarray:
    """Returns a list scalar of Arrow as an array that can be written to."""
    return np.array(values.values.to_numpy(zero_copy_only=False))


def _packed(encoded: Encoded) -> dict[str, Any]:
    """Returns the row of an entry; token types that are all 0, and reads that there are none of, are left out."""
    texts = encoded.texts
    return {
        "tokens": [text.tokens_T for text in texts],
        "types": [text.types_T for text in texts] if any(text.types_T.any() for text in texts) else [],
        "reads": [text.reads_T for text in texts if text.reads_T is not None],
        "option_ids": encoded.option_ids,
    }


class Kept(NamedTuple):
    """What the cache holds under a key."""

    places: np.ndarray  # of each entry's item among those that were asked for
    encoded: KeptTexts
    cut: int  # items that were shortened, or cut into pieces
    measures: Measures


def _file(key: str) -> Path:
    return cache_folder() / "tokens" / f"{key}.arrow"


def find(key: str) -> Kept | None:
    """Returns what the cache holds under a key; None if that is nothing, or was not finished, or is damaged."""
    file = _file(key)
    try:
        with np.load(file.with_suffix(".npz"), allow_pickle=False) as stored:
            measures = Measures(*(_plain(stored[name]) for name in Measures._fields))
            places, cut = stored["places"], int(stored["cut"])
        encoded = KeptTexts(file)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return Kept(places, encoded, cut, measures) if len(encoded) == len(places) else None


def _plain(value: np.ndarray) -> Any:
    return value if value.ndim else value.item()


def write(key: str, entries: Iterable[Entry]) -> Kept:
    """Writes entries as they are made, and returns them mapped into memory; once, if several processes want them."""
    file = _file(key)
    with storage_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock")):
            return find(key) or _write(file, entries)


def _write(file: Path, entries: Iterable[Entry]) -> Kept:
    import datasets

    integer, is_read = datasets.Value("int32"), datasets.Value("bool")
    of = {"tokens": integer, "types": integer, "reads": is_read, "option_ids": integer}
    measuring, places, cut = Measuring(), [], set()

    def rows() -> Iterator[dict[str, Any]]:
        for entry in entries:
            measuring.add(entry.item, entry.example, entry.encoded)
            places.append(entry.place)
            cut.update([entry.place] * entry.is_cut)
            yield _packed(entry.encoded)

    arrow.write(file, {name: datasets.List(datasets.List(of[name])) for name in COLUMNS}, rows())
    found = Kept(np.array(places, np.int64), KeptTexts(file), len(cut), measuring.found())
    noted = file.with_suffix(".partial.npz")
    np.savez(noted, places=found.places, cut=found.cut, **found.measures._asdict())
    noted.replace(file.with_suffix(".npz"))
    return found
