"""JSON from anywhere: one object, every key once, no numbers or nests without end, and errors that name the place."""

import json
import os

import pytest

from moral_jax.runtime import strict_json
from moral_jax.types import UserError


def refused(text, message):
    with pytest.raises(UserError, match=f"^here: {message}"):
        strict_json.parse(text, "here")


def test_an_object_is_read_from_bytes_and_text():
    assert strict_json.parse('{"é": [1, 2.5, null, {"x": true}]}'.encode(), "here") == {
        "é": [1, 2.5, None, {"x": True}]
    }
    assert strict_json.parse(' {"a": 1}\n', "here") == {"a": 1}


def test_a_key_twice_is_named_at_any_depth():
    refused('{"a": 1, "b": 2, "b": 2}', "the key 'b' appears twice")
    refused('{"a": [{"deep": {"c": 1, "c": 2}}]}', "the key 'c' appears twice")
    refused('{"' + "k" * 200 + '": 1, "' + "k" * 200 + '": 1}', r"the key '" + "k" * 76 + r"\.\.\. appears twice$")
    assert strict_json.parse('{"a": {"b": 1}, "b": {"a": 1}}', "here") == {"a": {"b": 1}, "b": {"a": 1}}


@pytest.mark.parametrize(
    ("text", "found"), [("[1]", "list"), ("null", "NoneType"), ("3", "int"), ('"{}"', "str"), ("true", "bool")]
)
def test_what_is_no_object_is_named_by_its_type(text, found):
    refused(text, f"found {found}, expected a JSON object$")


@pytest.mark.parametrize(
    "text", ["", "{", '{"a": 1} {"b": 2}', '{"a": 1,}', "{'a': 1}", b"\xff\xfe{", b'{"a": "\xe9"}']
)
def test_what_is_no_json_is_refused(text):
    refused(text, r"not valid JSON \(.*\); expected one JSON object$")


def test_nests_without_end_are_refused():
    refused('{"a":' * 100_000, "not valid JSON")
    refused('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "not valid JSON")
    assert strict_json.parse('{"a":' * 50 + "1" + "}" * 50, "here")


def test_whole_numbers_of_thousands_of_digits_are_refused():
    refused('{"a": ' + "1" * 5000 + "}", "not valid JSON")
    assert strict_json.parse('{"a": ' + "1" * 300 + "}", "here")["a"] == int("1" * 300)


def test_a_file_is_read_and_its_errors_name_it(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"a": 1}')
    assert strict_json.read(path) == {"a": 1}
    path.write_text("[]")
    with pytest.raises(UserError, match=f"^{path}: found list"):
        strict_json.read(path)


def test_a_file_may_be_as_large_as_the_limit_and_no_larger(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    monkeypatch.setattr(strict_json, "MAX_JSON_BYTES", 8)
    path.write_text('{"a": 1}')
    assert strict_json.read(path) == {"a": 1}
    path.write_text('{"a": 10}')
    with pytest.raises(UserError, match="x.json: has 9 bytes; expected a JSON object of at most 8"):
        strict_json.read(path)


def test_a_file_with_a_large_hole_is_refused_by_its_size(tmp_path):
    path = tmp_path / "x.json"
    path.touch()
    os.truncate(path, 10**13)  # bytes
    with pytest.raises(UserError, match="has 10000000000000 bytes; expected a JSON object of at most 100000000"):
        strict_json.read(path)


def test_a_directory_a_pipe_and_nothing_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # whoever opened it would wait for ever
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "nothing", tmp_path / "nothing" / "x.json"):
        with pytest.raises(UserError, match=f"^{path}: no such file$"):
            strict_json.read(path)


def test_lines_come_with_their_places(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\n{"a": "\u2028"}\r\n{"a": 3}')
    assert list(strict_json.read_lines(path)) == [
        (f"{path}:1", {"a": 1}),
        (f"{path}:2", {"a": "\u2028"}),
        (f"{path}:3", {"a": 3}),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[]", "found list"),
        ("", "not valid JSON"),
        ('{"a": 1, "a": 1}', "the key 'a' appears twice"),
        ("\0", "not val"),
    ],
)
def test_a_bad_line_is_named_after_the_good_ones_were_given(tmp_path, line, message):
    path = tmp_path / "x.jsonl"
    path.write_text(f'{{"a": 1}}\n{line}\n')
    lines = strict_json.read_lines(path)
    assert next(lines) == (f"{path}:1", {"a": 1})
    with pytest.raises(UserError, match=f"^{path}:2: {message}"):
        next(lines)


def test_lines_of_a_directory_or_of_nothing_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UserError, match=rf"^{path}: cannot be read \("):
            list(strict_json.read_lines(path))


NO_TEXT, DIRECTIONS = (0x0, 0xD800, 0xDFFF, 0xFDD0, 0xFDEF), (0x202A, 0x202E, 0x2066, 0x2069)


@pytest.mark.parametrize("code", NO_TEXT)
def test_a_forbidden_character_is_named_with_its_place(code):
    found = strict_json.forbidden_character(f"ab{chr(code)}c{chr(code)}")
    assert found == f"the character U+{code:04X} at position 3, which is not text"
    assert strict_json.direction_character(chr(code)) is None


@pytest.mark.parametrize("code", DIRECTIONS)
def test_a_character_of_direction_is_text_and_is_shown(code):
    text = f"ab{chr(code)}c{chr(code)}"
    assert strict_json.forbidden_character(text) is None
    found = strict_json.direction_character(text)
    assert found == f"the character U+{code:04X} at position 3, which hides what the text says"
    assert strict_json.visible(text) == f"ab\\u{code:04x}c\\u{code:04x}"
    assert json.loads(strict_json.visible(json.dumps(text, ensure_ascii=False))) == text


@pytest.mark.parametrize(
    "code", [0x1, 0x9, 0xA, 0x200E, 0x200F, 0x2029, 0x202F, 0x2065, 0x206A, 0xD7FF, 0xE000, 0xFDCF, 0xFDF0, 0x1F600]
)
def test_neighbours_of_forbidden_characters_are_allowed(code):
    text = f"ab{chr(code)}c"
    assert strict_json.forbidden_character(text) is strict_json.direction_character(text) is None
    assert strict_json.visible(text) == text


def test_a_forbidden_character_may_come_out_of_an_escape():
    value = strict_json.parse(r'{"a": "x\ud800"}', "here")["a"]
    assert strict_json.forbidden_character(value).startswith("the character U+D800 at position 2")


@pytest.mark.parametrize("value", [0, -3, 2.5, 9.9e299, -9.9e299, 10**299, 5e-324], ids=lambda value: f"{value!r:.9}")
def test_numbers(value):
    assert strict_json.is_number(value)


NONE = [True, False, None, "1", [1], 1e300, -1e300, 10**301, 10**400, -(10**400), *map(float, ("inf", "-inf", "nan"))]


@pytest.mark.parametrize("value", NONE, ids=lambda value: f"{value!r:.9}")
def test_what_is_no_number(value):
    assert not strict_json.is_number(value)


def test_numbers_that_json_does_not_know_are_read_and_are_none():
    values = json.dumps([float("nan"), float("inf"), -float("inf")])
    assert not any(map(strict_json.is_number, strict_json.parse(f'{{"a": {values}, "b": 1e999}}', "here")["a"]))


def test_a_value_is_shown_in_at_most_80_characters():
    assert strict_json.shown(["a", 1]) == "['a', 1]"
    assert strict_json.shown("x" * 78) == "'" + "x" * 78 + "'"  # 80 characters
    assert strict_json.shown("x" * 79) == "'" + "x" * 76 + "..."
    assert len(strict_json.shown(list(range(1000)))) == 80
    assert strict_json.shown("a\nb\0") == r"'a\nb\x00'"
