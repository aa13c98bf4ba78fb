"""Reads map.csv: which labels a tag has, in each of several columns."""

from typing import NamedTuple

from moral_jax.tasks import reading
from moral_jax.tasks.rows import Columns, as_text, described
from moral_jax.types import UserError


class Labels(NamedTuple):
    """The labels of tags."""

    columns: tuple[str, ...]
    of_tag: dict[str, dict[str, list[str]]]  # tag -> column -> labels; a tag may have none
    once: bool = False  # a tag that an option names twice counts once

    def of(self, column: str, tags: list[str]) -> list[str]:
        """Returns the labels of an option's tags in a column, as often as they come."""
        return [label for tag in self._counted(tags) for label in self.of_tag[tag][column]]

    def covered(self, column: str, tags: list[str]) -> tuple[int, int]:
        """Returns how many of an option's tags have a label in a column, and how many there are."""
        counted = self._counted(tags)
        return sum(bool(self.of_tag[tag][column]) for tag in counted), len(counted)

    def _counted(self, tags: list[str]) -> list[str]:
        return list(dict.fromkeys(tags)) if self.once else tags


def read(path: str, tag: str, columns: tuple[str, ...], once: bool = False) -> Labels:
    """Reads a table of labels.

    Args:
      path: a file, or a data set of the hub.
      tag: the column of tags.
      columns: the columns of labels; default: all others that have a name.
      once: a tag that an option names twice counts once.

    Raises:
      UserError: a column is missing, or a tag comes twice; names file and line.
    """
    found: dict[str, dict[str, list[str]]] = {}
    seen = Columns()
    for row in reading.opened(path, seen, "map.file", "--map").rows:
        if isinstance(row, UserError):
            raise row
        name = row.text(tag).strip()
        if name in found:
            raise row.error(tag, name, "each tag once")
        columns = columns or tuple(column for column in row.values if column not in (tag, "") and column)
        if missing := [column for column in columns if column not in row.values]:
            raise UserError(f"{row.where}: no column {missing[0]!r}; columns: {described([*seen.names])}")
        cells = {column: as_text(row.get(column)) for column in columns}
        found[name] = {c: [part.strip() for part in cell.split("|") if part.strip()] for c, cell in cells.items()}
    if not found:
        raise UserError(f"{path}: holds no tags")
    return Labels(columns, found, once)
