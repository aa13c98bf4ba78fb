"""Keeps large sets of examples on disk: written once into the cache as one Arrow file, then mapped into memory.

Sets of up to `IN_MEMORY` examples and `IN_MEMORY_CHARACTERS` are plain lists, and no file is written for them.
"""

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from filelock import FileLock

from moral_jax.runtime import arrow
from moral_jax.runtime.files import cache_folder
from moral_jax.types import Example

IN_MEMORY = 100_000
IN_MEMORY_CHARACTERS = 100_000_000
VERSION = 4  # of the format, and of how rows become examples
SHORT = ("id", "keys", "source")


class StoredExamples(Sequence[Example]):
    """Examples of a memory-mapped `datasets.Dataset`.

    `identity` tells them from others, and from themselves in another order, without reading them.
    """

    def __init__(self, dataset: Any, identity: str):
        self._dataset, self.identity = dataset, identity

    def __len__(self) -> int:
        return len(self._dataset)

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> "StoredExamples": ...
    def __getitem__(self, place: int | slice) -> "Example | StoredExamples":
        if isinstance(place, slice):
            return self.take(range(*place.indices(len(self))))
        return _unpacked(self._dataset[place])

    def __iter__(self) -> Iterator[Example]:
        for batch in self._dataset.iter(1000):
            for i in range(len(batch["id"])):
                yield _unpacked({name: column[i] for name, column in batch.items()})

    def take(self, places: Iterable[int]) -> "StoredExamples":
        """Returns the examples at some places, in that order."""
        chosen = np.fromiter(places, np.int64)
        identity = hashlib.sha256(self.identity.encode() + chosen.tobytes()).hexdigest()
        return StoredExamples(self._dataset.select(chosen), identity)

    def brief(self) -> Iterator[Example]:
        """Yields the examples without their long parts: texts are empty, options are as many but empty."""
        for batch in self._dataset.select_columns([*SHORT, "size"]).iter(10_000):
            for id_, keys, source, size in zip(*(batch[name] for name in (*SHORT, "size")), strict=True):
                yield Example(id_, "", ("",) * size, (), keys=tuple(keys), source=source)


def brief(examples: Sequence[Example]) -> Iterable[Example]:
    """Returns examples of which only id, keys, source and the number of options are looked at."""
    return examples.brief() if isinstance(examples, StoredExamples) else examples


def take(examples: Sequence[Example], places: Sequence[int]) -> Sequence[Example]:
    """Returns the examples at some places, in that order: a list of a list, stored ones of stored ones."""
    return examples.take(places) if isinstance(examples, StoredExamples) else [examples[i] for i in places]


OBJECTS = ("groups", "messages", "notes")  # are stored as JSON


def _packed(example: Example) -> dict[str, Any]:
    objects = {name: json.dumps(getattr(example, name)) for name in OBJECTS}
    return example._asdict() | objects | {"size": len(example.options)}


def _unpacked(row: dict[str, Any]) -> Example:
    row.pop("size")
    lists = {n: tuple(row[n]) for n in ("options", "counts", "keys", "positions")}
    second = row["second_counts"]
    objects = {name: json.loads(row[name]) for name in OBJECTS}
    objects["messages"] = tuple(objects["messages"])
    return Example(**row | lists | objects | {"second_counts": tuple(second) if second is not None else None})


def key(what: list[Any]) -> str:
    """Returns the key of the examples that JSON describes: where they come from, and how they were read."""
    return hashlib.sha256(json.dumps([VERSION, *what], sort_keys=True).encode()).hexdigest()[:32]


def _file(key: str) -> Path:
    return cache_folder() / "rows" / f"{key}.arrow"


def find(key: str) -> tuple[StoredExamples, dict[str, Any]] | None:
    """Returns the stored examples of a key and what was noted with them, or None."""
    file, note = _file(key), _file(key).with_suffix(".json")
    if not note.exists() or not file.exists():
        return None
    return StoredExamples(arrow.read(file), key), json.loads(note.read_text())


def _first(examples: Iterator[Example]) -> tuple[list[Example], bool]:
    """Returns the first examples, as many as stay in memory, and whether these are all."""
    first, characters = [], 0
    for example in examples:
        first.append(example)
        characters += len(example.text) + sum(map(len, example.options))
        characters += sum(len(turn["content"]) for turn in example.messages)
        if len(first) > IN_MEMORY or characters > IN_MEMORY_CHARACTERS:
            return first, False
    return first, True


def collect(examples: Iterator[Example], key: str) -> tuple[Sequence[Example], bool]:
    """Returns the examples as a list, or stored under `key` if they are too many or too long; and whether stored.

    `complete` must be called once it is clear that the stored ones are right: `find` knows none before.
    """
    first, are_all = _first(examples)
    if are_all:
        return first, False
    import datasets

    text, number = datasets.Value("string"), datasets.Value("float64")
    features = (
        dict.fromkeys(("id", "question", "title", "text", "source", *OBJECTS), text)
        | {name: datasets.List(text) for name in ("options", "keys")}
        | {name: datasets.List(number) for name in ("counts", "second_counts", "positions")}
        | {"size": datasets.Value("int32"), "exchangeable": datasets.Value("bool")}
    )
    file = _file(key)
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):  # other processes may begin with the same rows at once
        arrow.write(file, features, map(_packed, itertools.chain(first, examples)))
    return StoredExamples(arrow.read(file), key), True


def complete(key: str, note: dict[str, Any]) -> None:
    """Notes that the examples of a key are all there, and what `find` returns with them."""
    _file(key).with_suffix(".json").write_text(json.dumps(note))
