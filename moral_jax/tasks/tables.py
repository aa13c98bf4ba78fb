"""Reads a table of rows from disk: JSON lines, array or object by id, CSV, TSV, parquet, arrow, or a folder of them.

`rows` goes through a file once, in bounded memory, and yields a `Row`, or the error of a row that cannot be read, so
that a file with several bad rows can name them all. Text formats are read strictly by this module, because errors must
name the line; parquet and arrow are read by `datasets`. What is wrong with the file as a whole is raised.
"""

import bz2
import csv
import functools
import gzip
import io
import itertools
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Protocol, cast

from moral_jax.runtime.strict_json import parse, parse_value
from moral_jax.tasks.rows import Columns, Row
from moral_jax.types import UserError

LONGEST_LINE = 2**22  # bytes: about 700,000 words
CAP_BYTES = 512 * 2**20  # of unpacked data in a compressed file, and of a JSON file that is one value
BOM = b"\xef\xbb\xbf"
SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers")
csv.field_size_limit(LONGEST_LINE)

Read = Row | UserError  # a row, or what is wrong with it


class Stream(Protocol):
    """Bytes that are read by lines."""

    def readline(self, size: int, /) -> bytes: ...


def numbered(stream: Stream, name: str, most: float = float("inf")) -> Iterator[tuple[str, str]]:
    """Yields (place, line) for all lines. Skips a byte order mark at the beginning.

    Args:
      stream: the bytes of the file, unpacked.
      name: name of the file, for places and errors.
      most: maximum number of bytes in the stream.

    Raises:
      UserError: a line is too long, or not UTF-8; or the stream is too long.
    """
    number = total = 0
    while line := stream.readline(LONGEST_LINE + 1):
        number, total = number + 1, total + len(line)
        where = f"{name}:{number}"
        if len(line) > LONGEST_LINE:
            raise UserError(f"{where}: is longer than {LONGEST_LINE} bytes; shorten or split it")
        if total > most:
            raise UserError(f"{where}: unpacks to more than {most} bytes; unpack the file and check what it contains")
        try:
            yield where, (line.removeprefix(BOM) if number == 1 else line).decode("utf-8")
        except UnicodeDecodeError as e:
            raise UserError(f"{where}: cannot be read as UTF-8 ({e.reason} at byte {e.start + 1}); convert it") from e


def lines(stream: Stream, name: str, most: float = float("inf")) -> Iterator[tuple[str, str]]:
    """Yields (place, line) for the lines that are not blank; raises as `numbered`."""
    return ((where, line) for where, line in numbered(stream, name, most) if line.strip())


def _json_lines(stream: Stream, name: str, columns: Columns, most: float) -> Iterator[Read]:
    for where, line in lines(stream, name, most):
        try:
            yield Row(parse(line, where), where, columns)
        except UserError as e:
            yield e


def _whole(file: IO[bytes], name: str) -> bytes:
    text = file.read(CAP_BYTES + 1)
    if len(text) > CAP_BYTES:
        raise UserError(f"{name}: one JSON value of more than {CAP_BYTES} bytes; write it as JSON lines (.jsonl)")
    return text.removeprefix(BOM)


def _array(values: list[Any], name: str, columns: Columns) -> Iterator[Read]:
    """Yields the objects of an array, as `to_json(orient="records")` writes it."""
    for number, value in enumerate(values, 1):
        where = f"{name}: item {number}"
        if isinstance(value, dict):
            yield Row(value, where, columns)
        else:
            yield UserError(f"{where}: found {type(value).__name__}, expected a JSON object")


def _by_id(values: dict[str, dict[str, Any]], name: str, columns: Columns) -> Iterator[Read]:
    """Yields the rows of an object row id -> row, or column -> {row number -> value} as pandas writes it by default."""
    inner = list(dict.fromkeys(key for value in values.values() for key in value))
    if inner and all(key.isdecimal() for key in inner):
        for key in inner:
            cells = {column: of_row.get(key) for column, of_row in values.items()}
            yield Row(cells, f"{name}: row {key!r}", columns)
    else:
        for key, value in values.items():
            yield Row({"id": key} | value, f"{name}: row {key!r}", columns)


def _json(file: IO[bytes], name: str, columns: Columns, most: float) -> Iterator[Read]:
    """Yields the rows of a .json file: an array, an object by id, one row, or JSON lines."""
    text = _whole(file, name)
    try:
        value = parse_value(text, name, "a JSON array of rows, an object of rows by id, or a JSON object a line")
    except UserError:
        by_line = list(_json_lines(io.BytesIO(text), name, columns, most))
        if not any(isinstance(row, Row) for row in by_line):
            raise
        yield from by_line
        return
    if isinstance(value, list):
        yield from _array(value, name, columns)
    elif isinstance(value, dict) and value and all(isinstance(inner, dict) for inner in value.values()):
        yield from _by_id(value, name, columns)
    else:
        yield from _json_lines(io.BytesIO(text.replace(b"\n", b" ")), name, columns, most)


def _separated(file: Stream, name: str, columns: Columns, most: float, tabs: bool) -> Iterator[Read]:
    """Yields the rows of a CSV or TSV file as texts; empty cells are None. The first line decides between "," and ";".

    Cells keep their characters: "007", "NA" and "1.0" stay what they are.
    """
    text = (line for _, line in numbered(file, name, most))
    header = next(text, "")
    delimiter = "\t" if tabs else ";" if ";" in header and "," not in header else ","
    reader = csv.reader(itertools.chain([header], text), delimiter=delimiter, strict=True)
    source = "config.task.columns" if columns.given else "the header"
    names = list(columns.given) or [column.strip() for column in next(reader, [])]
    if twice := [column for column in names if column and names.count(column) > 1]:
        raise UserError(f"{name}: the column {twice[0]!r} appears twice in {source}; rename one")
    columns.names.update(dict.fromkeys(filter(None, names)))
    while True:
        where = f"{name}:{reader.line_num + 1}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as e:
            yield UserError(f"{where}: not a row of a table ({e}); check the quotes")
            continue
        if len(cells) == len(names):
            yield Row({n: cell or None for n, cell in zip(names, cells, strict=True) if n}, where, columns, typed=False)
        elif any(cell.strip() for cell in cells):
            yield UserError(
                f"{where}: found {len(cells)} cells, expected {len(names)} as in {source}; check the quotes"
            )


def of_dataset(dataset: Iterable[dict[str, Any]], name: str, columns: Columns) -> Iterator[Read]:
    """Yields the rows of a `datasets` data set."""
    for number, values in enumerate(dataset, 1):
        yield Row(values, f"{name}: row {number}", columns)


def _arrow(kind: str, path: Path, columns: Columns) -> Iterator[Read]:
    """Yields the rows of a parquet or arrow file, without copying it."""
    import datasets  # two seconds, which text files need not wait for

    streamed = datasets.load_dataset(kind, data_files=str(path), split="train", streaming=True)
    return of_dataset(streamed, str(path), columns)


def _opened(path: Path) -> tuple[IO[bytes], float]:
    """Returns the unpacked bytes of a file, and the most of them that are read."""
    match path.suffix:
        case ".gz":
            return cast(IO[bytes], gzip.open(path, "rb")), CAP_BYTES
        case ".bz2":
            return bz2.open(path, "rb"), CAP_BYTES
        case ".xz":
            return lzma.open(path, "rb"), CAP_BYTES
        case ".zst":
            import pyarrow

            return io.BufferedReader(pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd")), CAP_BYTES
    return path.open("rb"), float("inf")


PACKED = (".gz", ".bz2", ".xz", ".zst")
TEXTS: dict[str, Callable[[IO[bytes], str, Columns, float], Iterator[Read]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": functools.partial(_separated, tabs=False),
    ".tsv": functools.partial(_separated, tabs=True),
}
BINARY = {".parquet": "parquet", ".arrow": "arrow"}
KINDS = (*TEXTS, *BINARY)


def kind_of(path: Path) -> str | None:
    """Returns what a file is by its name, such as ".csv" for x.csv.gz; None for names that are not read."""
    suffix = Path(path.stem).suffix if path.suffix in PACKED else path.suffix
    return suffix if suffix in KINDS and not (path.suffix in PACKED and suffix in BINARY) else None


def _of_file(path: Path, columns: Columns) -> Iterator[Read]:
    kind = kind_of(path)
    if columns.given and kind not in (".csv", ".tsv"):
        raise UserError(f"{path}: names its own columns; leave out config.task.columns, which is for CSV and TSV files")
    if kind in BINARY:
        yield from _arrow(BINARY[kind], path, columns)
        return
    file, most = _opened(path)
    with file:
        yield from TEXTS[kind or ".jsonl"](file, str(path), columns, most)


def files_of(path: Path) -> list[Path]:
    """Returns the files that are read for a path: itself, or those of a folder or pattern ("part-*.csv") by name.

    Raises:
      UserError: there is no such file, it is a spreadsheet, or the folder holds no table.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and kind_of(file))
        if not files:
            raise UserError(f"{path}: holds no file of rows; expected names that end in {', '.join(KINDS)}")
        return files
    if not path.exists() and "*" in path.name and (files := sorted(path.parent.glob(path.name))):
        return files
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if path.suffix in SPREADSHEETS:
        raise UserError(f"{path}: a spreadsheet program's own format; save the sheet as CSV (UTF-8)")
    return [path]


def rows(path: Path, columns: Columns) -> Iterator[Read]:
    """Yields the rows of a file, or of all files of a folder; a row that cannot be read is yielded as its error.

    Args:
      path: a file or folder; names that are not known are read as JSON lines.
      columns: takes up the names of the columns.

    Raises:
      UserError: a file is missing, damaged, too large when unpacked, or not UTF-8.
    """
    for file in files_of(path):
        try:
            yield from _of_file(file, columns)
        except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as e:  # Arrow's errors are ValueErrors too
            reason = getattr(e, "strerror", None) or str(e)
            raise UserError(f"{file}: cannot be read ({reason}); fetch or write it again") from e
