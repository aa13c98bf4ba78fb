"""Tests rows of votes: JSON lines of three tasks, packed and plain."""

import gzip
import json

import pytest

from tests.bad_input.refusal import Case, each

GOOD = {"id": "r1", "text": "He lied.", "question": "Was it wrong?", "options": ["yes", "no"], "counts": [3, 2]}
DILEMMA = {
    "id": "d1",
    "actions": [{"id": "a", "description": "lying"}, {"id": "b", "description": "stealing"}],
    "gold_annotations": [1, 4],
    "human_perf_annotations": [0, 5],
}
ANECDOTE = {
    "id": "x1",
    "title": "AITA",
    "text": "I lied.",
    "label_scores": {"AUTHOR": 1, "OTHER": 2, "EVERYBODY": 0, "NOBODY": 0, "INFO": 0},
}


def line(row=GOOD, **changes):
    return json.dumps(row | changes).encode() + b"\n"


def votes(text):
    """Returns a row whose votes are written verbatim."""
    return line().replace(b"[3, 2]", text)


FILES = (
    Case("nothing", b"", "rows.jsonl", "holds no rows"),
    Case("only blank lines", b"\n \r\n\t\n", "rows.jsonl", "holds no rows"),
    Case("no JSON", b"id,text\n1,He lied\n", "rows.jsonl:1", "expected one JSON object"),
    Case("cut in a row", line() + line(id="r2")[:-9], "rows.jsonl:2", "not valid JSON"),
    Case("two rows in a line", line().strip() + line(), "rows.jsonl:1", "Extra data"),
    Case("a list around all rows", b"[" + line().strip() + b"]", "rows.jsonl:1", "expected a JSON object"),
    Case("a number", b"7\n", "rows.jsonl:1", "expected a JSON object"),
    Case("null", line() + b"null\n", "rows.jsonl:2", "expected a JSON object"),
    Case("UTF-16", line().decode().encode("utf-16"), "rows.jsonl:1", "convert it"),
    Case("UTF-32", line().decode().encode("utf-32-le"), "rows.jsonl:1", "not valid JSON"),
    Case("Latin-1", line().replace(b"lied", b"l\xefed"), "rows.jsonl:1", "UTF-8"),
    Case("half a character", line() + b'{"id": "\xe4\xbd', "rows.jsonl:2", "UTF-8"),
    Case("a byte order mark in the middle", line() + b"\xef\xbb\xbf" + line(id="r2"), "rows.jsonl:2", "not valid JSON"),
    Case("NUL bytes", b"\0" * 100, "rows.jsonl:1", "not valid JSON"),
    Case("old Mac line ends", line().strip() + b"\r" + line(id="r2").strip(), "rows.jsonl:1", "Extra data"),
    Case("JSON with comments", b"// votes\n" + line(), "rows.jsonl:1", "not valid JSON"),
    Case("single quotes", line().replace(b'"', b"'"), "rows.jsonl:1", "not valid JSON"),
    Case("a raw line end in a text", line().replace(b"He lied", b"He\nlied"), "rows.jsonl:1", "not valid JSON"),
    Case("a key twice", line().replace(b'"id"', b'"counts": [0, 5], "id"'), "rows.jsonl:1", "'counts' appears twice"),
    Case("nested 100,000 deep", b'{"a": ' * 100_000 + b"1" + b"}" * 100_000, "rows.jsonl:1", "not valid JSON"),
    Case("a number of 10,000 digits", votes(b"[" + b"9" * 10_000 + b", 1]"), "rows.jsonl:1", "not valid JSON"),
    Case("a line of 10 MB", line(text="x" * 10_000_000), "rows.jsonl:1", "shorten or split it"),
    Case("an id twice", line() + line(question="Else?"), "'r1' appears in two rows", "ids must differ"),
)
PACKED = (
    Case("not packed at all", line(id="p1"), "rows.jsonl.gz", "fetch or write it again"),
    Case("packed and cut", gzip.compress(line() * 50)[:60], "rows.jsonl.gz", "fetch or write it again"),
    Case(
        "packed and damaged", gzip.compress(line() * 50)[:30] + b"\xff" * 40, "rows.jsonl.gz", "fetch or write it again"
    ),
    Case("packed with a wrong checksum", gzip.compress(line())[:-8] + b"12345678", "rows.jsonl.gz", "cannot be read"),
    Case("packed twice", gzip.compress(gzip.compress(line())), "rows.jsonl.gz:1", "UTF-8"),
    Case("one packed line without end", gzip.compress(b"a" * 30_000_000, 1), "rows.jsonl.gz:1", "shorten or split it"),
)
ROWS = (
    Case("NaN votes", votes(b"[NaN, 1]"), "field 'counts': found nan", "a finite number of votes"),
    Case("infinite votes", votes(b"[Infinity, 1]"), "field 'counts': found inf", "a finite number"),
    Case("votes beyond float64", votes(b"[1e999, 1]"), "field 'counts': found inf", "a finite number"),
    Case("votes beyond any float, whole", votes(b"[1" + b"0" * 400 + b", 1]"), "field 'counts'", "a finite number"),
    Case("more votes than people", votes(b"[1e11, 1]"), "field 'counts': found 100000000000.0", "at most 1e+10"),
    Case("negative votes", votes(b"[-1, 3]"), "field 'counts': found -1", "zero or more"),
    Case("no votes", votes(b"[0, 0]"), "field 'counts'", "at least one vote"),
    Case("votes too small for float32", votes(b"[1e-300, 0]"), "field 'counts'", "at least one vote"),
    Case("true votes", votes(b"[true, 1]"), "field 'counts': found True", "a finite number"),
    Case("votes as text", votes(b'["3", 1]'), "field 'counts': found '3'", "a finite number"),
    Case("null votes", votes(b"[null, 1]"), "field 'counts': found None", "a finite number"),
    Case("votes in lists", votes(b"[[3], [1]]"), "field 'counts': found [3]", "a finite number"),
    Case("votes of no option", votes(b'{"yes": 3, "on": 1}'), "found 'on'", "expected one of 'yes', 'no'"),
    Case("a vote missing", votes(b"[3]"), "field 'counts'", "2 numbers, one per option"),
    Case("a vote too many", votes(b"[3, 1, 1]"), "field 'counts'", "2 numbers, one per option"),
    Case("no field for votes", line(counts=None), "field 'counts': found None", "expected a list"),
    Case("no options", line(options=[]), "field 'options'", "at least two options"),
    Case("one option", line(options=["yes"], counts=[1]), "field 'options'", "at least two options"),
    Case("an empty option", line(options=["yes", " "]), "field 'options'", "a non-empty string"),
    Case("an invisible option", line(options=["yes", "\u200b\u2060"]), "field 'options'", "a non-empty string"),
    Case("an option twice", line(options=["yes", "yes "]), "field 'options'", "options that all differ"),
    Case(
        "options that look the same", line(options=["yes", "y\u200bes"]), "field 'options'", "options that all differ"
    ),
    Case(
        "accents written in two ways", line(options=["\u00e9", "e\u0301"]), "field 'options'", "options that all differ"
    ),
    Case("an option that is null", line(options=["yes", None]), "field 'options'", "a non-empty string"),
    Case("an option that is an object", line(options=["yes", {"no": 1}]), "field 'options'", "a non-empty string"),
    Case(
        "an option that is infinite",
        line(options=[1, float("inf")]),
        "field 'options'",
        "each a number or a non-empty string",
    ),
    Case(
        "an option of 400 digits", line(options=[1, 10**400]), "field 'options'", "each a number or a non-empty string"
    ),
    Case("options as text", line(options="yes, no"), "field 'options'", "expected a list"),
    Case(
        "100,000 options", line(options=list(range(100_000)), counts=[1] * 100_000), "field 'options'", "at most 1000"
    ),
    Case("NUL in a text", line(text="He\0lied"), "U+0000 at position 3", "remove it"),
    Case("NUL in an option", line(options=["y\0", "n"]), "U+0000", "remove it"),
    Case("half a surrogate pair", line(question="Was it \ud83d?"), "U+D83D", "remove it"),
    Case("half a surrogate pair in an id", line(id="\udfff"), "field 'id': holds the character U+DFFF", "remove it"),
    Case("a character that is none", line(text="He \ufdd0lied"), "U+FDD0 at position 4", "remove it"),
    Case("nothing to judge", line(text="", question=" "), "field 'text'", "something to judge"),
    Case("turns that are no list", line(messages="hi"), "field 'messages'", "expected a list"),
    Case("a turn that is a text", line(messages=["hi"]), "field 'messages'", "turns like"),
    Case(
        "a turn of an unknown role",
        line(messages=[{"role": "root", "content": "x"}]),
        "field 'messages'",
        "system | user",
    ),
    Case("a turn without words", line(messages=[{"role": "user", "content": None}]), "field 'messages'", "turns like"),
    Case("NUL in a turn", line(messages=[{"role": "user", "content": "\0"}]), "field 'messages'", "remove it"),
)
DILEMMAS = (
    Case("fractional votes", line(DILEMMA, gold_annotations=[2.5, 2.5]), "field 'gold_annotations'", "whole votes"),
    Case("a fractional second panel", line(DILEMMA, human_perf_annotations=[0.5, 1]), "human_perf", "whole votes"),
    Case("nobody voted", line(DILEMMA, gold_annotations=[0, 0]), "field 'gold_annotations'", "at least one vote"),
    Case("three votes", line(DILEMMA, gold_annotations=[1, 1, 1]), "field 'gold_annotations'", "a list of 2"),
    Case("one action", line(DILEMMA, actions=DILEMMA["actions"][:1]), "field 'actions'", "a list of 2"),
    Case("an action without words", line(DILEMMA, actions=[{"id": "a"}] * 2), "field 'actions[0]'", "'description'"),
    Case("an action that is a text", line(DILEMMA, actions=["lying", "stealing"]), "field 'actions[0]'", "an object"),
    Case("the same action twice", line(DILEMMA, actions=DILEMMA["actions"][:1] * 2), "field 'actions'", "that differ"),
    Case("a number for an id", line(DILEMMA, id=7), "field 'id': found 7", "a non-empty string"),
    Case(
        "a missing panel", line(DILEMMA, human_perf_annotations=None), "field 'human_perf_annotations'", "a list of 2"
    ),
    Case(
        "NUL in an action",
        line(DILEMMA, actions=[{"id": "a", "description": "\0x"}] * 2),
        "field 'actions[0]'",
        "remove",
    ),
    Case("rows of another task", line(), "field 'actions': found None", "a list of 2"),
)
ANECDOTES = (
    Case("a class missing", line(ANECDOTE, label_scores={"AUTHOR": 1}), "field 'label_scores'", "keys AUTHOR, OTHER"),
    Case(
        "votes in a list",
        line(ANECDOTE, label_scores=[1, 2, 3, 4, 5]),
        "field 'label_scores'",
        "an object with the keys",
    ),
    Case(
        "no votes in any class",
        line(ANECDOTE, label_scores=dict.fromkeys(ANECDOTE["label_scores"], 0)),
        "field 'label_scores'",
        "at least one vote",
    ),
    Case(
        "half votes", line(ANECDOTE, label_scores=dict.fromkeys(ANECDOTE["label_scores"], 0.5)), "label_scores", "whole"
    ),
    Case("no title", line(ANECDOTE, title="  "), "field 'title'", "a non-empty string"),
    Case("a text that is a list", line(ANECDOTE, text=["I", "lied"]), "field 'text'", "a non-empty string"),
)
CASES = FILES + PACKED + ROWS + DILEMMAS + ANECDOTES


def baseline(config_of, tmp_path, name, task):
    return [
        "baseline",
        "prior",
        config_of(task),
        f"--config.task.path={tmp_path / name}",
        f"--workdir={tmp_path / 'r'}",
    ]


@pytest.mark.fault("bad rows of votes: votes, options, texts, encodings, sizes", promise="one message, exit code 2")
@each(FILES + ROWS)
def test_votes(case, refused, config_of, tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(case.given)
    refused(case, *baseline(config_of, tmp_path, "rows.jsonl", "votes"))


@each(PACKED)
def test_packed_votes(case, refused, config_of, tmp_path):
    (tmp_path / "rows.jsonl.gz").write_bytes(case.given)
    refused(case, *baseline(config_of, tmp_path, "rows.jsonl.gz", "votes"))


@each(DILEMMAS)
def test_dilemmas(case, refused, config_of, tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(case.given)
    refused(case, *baseline(config_of, tmp_path, "rows.jsonl", "dilemmas"))


@each(ANECDOTES)
def test_anecdotes(case, refused, config_of, tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(case.given)
    refused(case, *baseline(config_of, tmp_path, "rows.jsonl", "anecdotes"))


def read(path, content, task="votes"):
    from moral_jax.config.task import TaskConfig
    from moral_jax.tasks import reading

    path.write_bytes(content)
    return reading.read(str(path), TaskConfig(name=task)).examples


def test_the_rows_that_the_others_are_changes_of(tmp_path):
    for task, row in (("votes", GOOD), ("dilemmas", DILEMMA), ("anecdotes", ANECDOTE)):
        assert len(read(tmp_path / "rows.jsonl", line(row), task)) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + line(),
        line().replace(b"\n", b"\r\n") * 1,
        line().strip(),
        b"\n\n" + line() + b"\n",
        line(counts=[0.25, 0.75]),
        line(options=["\u05d0\u200f", "no"], text="tab\tand \u2028 line \x02"),
        gzip.compress(line()),
    ],
    ids=["BOM", "CRLF", "no line end", "blank lines", "shares", "right to left", "packed"],
)
def test_what_only_looks_bad_is_read(content, tmp_path):
    name = "rows.jsonl.gz" if content[:2] == b"\x1f\x8b" else "rows.jsonl"
    assert len(read(tmp_path / name, content)) == 1


def test_separators_that_unicode_knows_do_not_cut_records(tmp_path):
    """U+2028 and similar characters end a line for str.splitlines, but not in JSON."""
    from moral_jax.runs.records import read_jsonl
    from moral_jax.runtime.files import write_jsonl

    row = {
        "id": "1",
        "options": ["a", "b"],
        "counts": [1, 2],
        "probabilities": [0.5, 0.5],
        "concentration": 2.0,
        "option_mass": None,
        "groups": {},
        "orders": [{"order": [0, 1], "probabilities": [0.5, 0.5]}],
        "question": "?",
        "text": "x\u2028y\x85z\x1c",
    }
    write_jsonl(tmp_path / "test.jsonl", [row])
    [read_again] = read_jsonl(tmp_path / "test.jsonl")
    assert read_again["text"] == row["text"]
