"""Counts one row per person into one row per item: how many people gave each label.

A file with a row per person and item names the label (`fields.vote`), the item (`fields.item`), and maybe the person, a
weight, and groups of people (`fields.by`). The rows of an item, or of an item and a group, become its first row with
the column `tally.VOTES`: for each question of a row, an object label -> votes.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from moral_jax.config.task import FieldsConfig
from moral_jax.tasks.rows import Row, as_text, filled, is_empty
from moral_jax.tasks.tally import VOTES, code
from moral_jax.types import UserError

ITEMS = "items"  # column with the row of another table that describes the item
Questions = Sequence[tuple[str, FieldsConfig]]  # name and settings of every question of a row


@dataclasses.dataclass
class _Item:
    """The votes of one item and group."""

    first: Row
    content: tuple[str, ...]  # what the prompt shows, which must not differ between the item's rows
    votes: dict[str, dict[str, float]] = dataclasses.field(default_factory=lambda: defaultdict(dict))
    people: set[str] = dataclasses.field(default_factory=set)


def groups_of(row: Row, by: str) -> dict[str, str]:
    """Returns the group of a row in each of the columns in `by`."""
    return {column: as_text(row.get(column)) or "not stated" for column in by.split("|")} if by else {}


def item_of(row: Row, setting: str) -> str:
    """Returns the name of the item of a row: the value of a column, or of a template."""
    return filled(row, setting) if "{" in setting else as_text(row.get(setting))


def with_texts(
    rows: Iterable[Row | UserError], items: Iterable[Row | UserError], fields: FieldsConfig
) -> Iterator[Row | UserError]:
    """Yields the rows with their item, from a table of items, as the object `ITEMS`; the error of a row without item.

    Raises:
      UserError: a row of `items` cannot be read, or two have the same name.
    """
    texts: dict[str, Row] = {}
    for item in items:
        if isinstance(item, UserError):
            raise item
        name = filled(item, fields.id)
        if name in texts:
            raise UserError(f"{item.where}: the item {name!r} is also in {texts[name].where}; items must differ")
        texts[name] = item
    for row in rows:
        if isinstance(row, UserError):
            yield row
            continue
        name = item_of(row, fields.item)
        if name in texts:
            yield row.having({ITEMS: texts[name].values})
        else:
            yield row.error(fields.item, name, f"an item of config.task.items_path (by its {fields.id})")


def _labels(row: Row, questions: Questions) -> dict[str, str]:
    """Returns the label that a person gave to each question; questions without an answer are left out."""
    values = {name: (fields.vote, row.get(fields.vote)) for name, fields in questions}
    for column, value in values.values():
        if isinstance(value, list | dict):
            raise row.error(column, value, "the label that a person gave")
    labels = {name: code(value) for name, (_, value) in values.items() if not is_empty(value)}
    if not labels:
        column, value = next(iter(values.values()))
        raise row.error(column, value, "the label that a person gave")
    return labels


def _add(row: Row, item: _Item, labels: dict[str, str], fields: FieldsConfig) -> None:
    """Adds the votes of one row."""
    weight = row.vote(fields.weight, row.get(fields.weight)) if fields.weight else 1.0
    if fields.person:
        person = as_text(row.get(fields.person))
        if not person:
            raise row.error(fields.person, row.get(fields.person), "who voted")
        if person in item.people:
            raise row.error(fields.person, person, "one vote of a person on an item; this is another")
        item.people.add(person)
    for name, label in labels.items():
        item.votes[name][label] = item.votes[name].get(label, 0.0) + weight


def counted(rows: Iterable[Row | UserError], questions: Questions, shown: Sequence[str]) -> Iterator[Row | UserError]:
    """Yields a row per item, or per item and group, with the votes of its people.

    Memory grows with the number of items, and of people if `fields.person` is set.

    Args:
      rows: a row per person, or the error of one.
      questions: what is asked about an item.
      shown: columns whose values must be the same in all rows of an item and group.

    Yields the error of a row without item or label, of an item with another text, and of a person's second vote.
    """
    items: dict[tuple[str, ...], _Item] = {}
    _, fields = questions[0]
    for row in rows:
        if isinstance(row, UserError):
            yield row
            continue
        try:
            name = item_of(row, fields.item)
            if not name:
                raise row.error(fields.item, None, "the item that the vote is about")
            labels = _labels(row, questions)
            content = tuple(as_text(row.get(column)) for column in shown)
            item = items.setdefault((name, *groups_of(row, fields.by).values()), _Item(row, content))
            if content != item.content:
                column = next(c for c, a, b in zip(shown, content, item.content, strict=True) if a != b)
                expected = (
                    f"what {item.first.where} has for item {name!r}; if the item has versions, name them in fields.by"
                )
                raise row.error(column, row.get(column), expected)
            _add(row, item, labels, fields)
        except UserError as e:
            yield e
    for item in items.values():
        if item.votes:
            yield item.first.having({VOTES: dict(item.votes)})
