"""Tests tables of every kind: the rows that are read, the places that errors name, and what is never changed."""

import bz2
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moral_jax.tasks import tables
from moral_jax.tasks.rows import Columns, Row
from moral_jax.types import UserError

ROWS = [{"id": "1", "text": "She kept it, and told nobody.", "yes": 3}, {"id": "2", "text": "He told.", "yes": 0}]
CSV = 'id,text,yes\n1,"She kept it, and told nobody.",3\n2,He told.,0\n'
COLUMNS_FIRST = {name: {str(i): row[name] for i, row in enumerate(ROWS)} for name in ROWS[0]}


def zstd(data):
    return pa.compress(data, codec="zstd", asbytes=True)


TEXTS = {
    "rows.jsonl": "\n".join(map(json.dumps, ROWS)),
    "rows.ndjson": "\n".join(map(json.dumps, ROWS)),
    "lines.json": "\n".join(map(json.dumps, ROWS)),
    "array.json": json.dumps(ROWS),
    "printed.json": json.dumps(ROWS, indent=2),
    "by_id.json": json.dumps({row["id"]: {k: v for k, v in row.items() if k != "id"} for row in ROWS}),
    "pandas.json": json.dumps(COLUMNS_FIRST),
    "rows.csv": CSV,
    "mark.csv": "\ufeff" + CSV,
    "windows.csv": CSV.replace("\n", "\r\n"),
    "excel.csv": CSV.replace(",", ";").replace(";  and", ", and").replace("it; and", "it, and"),
    "rows.tsv": "id\ttext\tyes\n1\tShe kept it, and told nobody.\t3\n2\tHe told.\t0\n",
}


def read(path):
    columns = Columns()
    return list(tables.rows(path, columns)), columns


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize(("ending", "pack"), [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress)])
def test_text_tables_have_the_same_rows(tmp_path, name, ending, pack):
    path = tmp_path / (name + ending)
    path.write_bytes(pack(TEXTS[name].encode()))
    rows, columns = read(path)
    assert [row.get("text") for row in rows] == [row["text"] for row in ROWS]
    assert [row.get("id") for row in rows] == ["1", "2"]
    assert [row.vote("yes", row.get("yes")) for row in rows] == [3.0, 0.0]
    assert set(columns.names) == {"id", "text", "yes"}


def test_zstandard_parquet_and_arrow(tmp_path):
    path = tmp_path / "rows.jsonl.zst"
    path.write_bytes(zstd(TEXTS["rows.jsonl"].encode()))
    table = pa.Table.from_pylist(ROWS)
    pq.write_table(table, tmp_path / "rows.parquet")
    with pa.ipc.new_stream(tmp_path / "rows.arrow", table.schema) as out:
        out.write_table(table)
    for name in ("rows.jsonl.zst", "rows.parquet", "rows.arrow"):
        rows, _ = read(tmp_path / name)
        assert [row.values for row in rows] == ROWS, name
    assert rows[1].where == f"{tmp_path / 'rows.arrow'}: row 2"


def test_cells_of_a_csv_keep_their_characters(tmp_path):
    path = tmp_path / "codes.csv"
    path.write_text("id,country,share\n007,NA,1.0\n010,,1e3\n")
    rows, _ = read(path)
    assert [row.values for row in rows] == [
        {"id": "007", "country": "NA", "share": "1.0"},
        {"id": "010", "country": None, "share": "1e3"},
    ]
    assert rows[1].vote("share", rows[1].get("share")) == 1000.0


def test_a_text_is_no_vote_where_the_file_knows_numbers():
    with pytest.raises(UserError, match=r"f:1: field 'n': found '3', expected a finite number"):
        Row({"n": "3"}, "f:1").vote("n", "3")


@pytest.mark.parametrize(("name", "between"), [("x.csv", ","), ("x.csv", ";"), ("x.tsv", "\t")])
def test_a_file_without_a_header(tmp_path, name, between):
    """The first line is a row, and lines are counted from it."""
    (tmp_path / name).write_text(f"1{between}no\n2{between}yes\n3")
    columns = Columns(("id", "label"))
    one, two, bad = tables.rows(tmp_path / name, columns)
    assert [row.values for row in (one, two)] == [{"id": "1", "label": "no"}, {"id": "2", "label": "yes"}]
    assert (one.where, list(columns.names)) == (f"{tmp_path / name}:1", ["id", "label"])
    assert str(bad) == f"{tmp_path / name}:3: found 1 cells, expected 2 as in config.task.columns; check the quotes"


@pytest.mark.parametrize("name", ["x.jsonl", "x.parquet"])
def test_names_are_given_to_files_without_a_header_alone(tmp_path, name):
    (tmp_path / name).write_text('{"id": 1}')
    with pytest.raises(UserError, match=rf"{name}: names its own columns; leave out config.task.columns"):
        list(tables.rows(tmp_path / name, Columns(("id",))))


def test_places_are_lines_also_after_a_cell_of_several(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text('id,text\n1,"one\ntwo\nthree"\n2,x,y\n3,z\n')
    first, bad, last = read(path)[0]
    assert first.get("text") == "one\ntwo\nthree"
    assert str(bad) == f"{path}:5: found 3 cells, expected 2 as in the header; check the quotes"
    assert last.where == f"{path}:6"


def test_a_folder_is_read_in_the_order_of_names(tmp_path):
    for name, row in (("b.jsonl", ROWS[1]), ("a.jsonl", ROWS[0])):
        (tmp_path / name).write_text(json.dumps(row))
    (tmp_path / "README.md").write_text("no rows")
    assert [row.values for row in read(tmp_path)[0]] == ROWS


def test_a_bad_row_does_not_hide_the_others(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 1}\n{"id": \n[1]\n{"id": 4}\n')
    kinds = [type(row) for row in read(path)[0]]
    assert kinds == [Row, UserError, UserError, Row]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.xlsx", b"PK", "save the sheet as CSV"),
        ("rows.csv", b"a,b,a\n1,2,3\n", "the column 'a' appears twice"),
        ("rows.csv", b"text\nna\xefve\n", r"rows.csv:2: cannot be read as UTF-8"),
        ("rows.json", b'{"a": 1', "not valid JSON"),
        ("rows.json", b"7", "expected a JSON object"),
        ("rows.json", b"[7]", "item 1: found int, expected a JSON object"),
        ("rows.parquet", b"PAR1 no", "cannot be read"),
        ("rows.jsonl.zst", b"no zstandard", "cannot be read"),
    ],
)
def test_what_is_no_table_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        raise read(tmp_path / name)[0][0]


def test_a_folder_without_tables_is_named(tmp_path):
    (tmp_path / "README.md").write_text("no rows")
    with pytest.raises(UserError, match=r"holds no file of rows; expected names that end in \.jsonl"):
        read(tmp_path)
