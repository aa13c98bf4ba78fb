"""Tests questions of users (`moral-jax score`) and the texts of prompts."""

import json

import pytest

from tests.bad_input.refusal import Case, each

QUESTIONS = (
    Case("no question at all", b"", "q.txt: holds no question", "'question | option | option' a line"),
    Case("blank lines alone", b"\n \n\n", "q.txt: holds no question", "'question | option | option' a line"),
    Case("no options", b"Was it wrong?\n", "q.txt:1", "'question | option | option'"),
    Case("one option", b"Was it wrong? | yes\n", "q.txt:1", "'question | option | option'"),
    Case("no question", b" | yes | no\n", "q.txt:1", "'question | option | option'"),
    Case("an empty option", b"Was it wrong? | yes | \n", "q.txt:1: field 'options'", "a non-empty string"),
    Case("an option twice", b"Was it wrong? | yes | yes\n", "q.txt:1: field 'options'", "options that all differ"),
    Case("2,000 options", b"Which? |" + b"|".join(b"%d" % i for i in range(2000)), "q.txt:1", "at most 1000"),
    Case("the second line", b"Was it? | yes | no\nWas it?\n", "q.txt:2", "'question | option | option'"),
    Case("half an object", b'{"question": "Was it?"\n', "q.txt:1", "not valid JSON"),
    Case("an object without options", b'{"question": "Was it?"}\n', "q.txt:1: field 'options'", "expected a list"),
    Case("options that are a number", b'{"question": "Was it?", "options": 2}\n', "field 'options': found 2", "a list"),
    Case("an object without a question", b'{"options": ["a", "b"]}\n', "q.txt:1: field 'text'", "something to judge"),
    Case("a key twice", b'{"options": [], "options": []}\n', "q.txt:1: the key 'options'", "appears twice"),
    Case("nested 100,000 deep", b'{"a":' * 100_000, "q.txt:1", "not valid JSON"),
    Case("a number of 10,000 digits", b'{"id": ' + b"1" * 10_000 + b"}\n", "q.txt:1", "not valid JSON"),
    Case("Latin-1", b"Ob\xe9ir? | oui | non\n", "q.txt:1", "UTF-8"),
    Case("NUL", b"Was\0it? | yes | no\n", "q.txt:1: field 'question'", "remove it"),
    Case("a line of 10 MB", b"x" * 10_000_000 + b"? | yes | no\n", "q.txt:1", "shorten or split it"),
    Case(
        "roles of nobody",
        b'{"messages": [{"role": "dev", "content": ""}], "options": ["a", "b"]}\n',
        "messages",
        "turns",
    ),
)
PROMPTS = (
    Case(
        "a field that does not exist",
        ["--config.prompt.template={text} {story}"],
        "config.prompt.template: {story}",
        "{text}",
    ),
    Case(
        "attributes in a template",
        ["--config.prompt.template={__class__}"],
        "config.prompt.template: {__class__}",
        "known:",
    ),
    Case("too few labels", ["--config.prompt.labels=A"], "config.prompt.labels", "has only 1"),
    Case("a label twice", ["--config.prompt.labels=AA"], "config.prompt.labels='AA'", "differ"),
    Case("a blank label", ["--config.prompt.labels=A "], "config.prompt.labels='A '", "differ"),
    Case("a format that does not exist", ["--config.prompt.format=chatt"], "config.prompt.format='chatt'", "chat"),
    Case("orders that do not exist", ["--config.prompt.orders=random"], "config.prompt.orders='random'", "'rotations'"),
    Case(
        "a cue where none can be",
        ["--config.prompt.answer_prefix=Verdict:"],
        "config.prompt.answer_prefix='Verdict:'",
        "--config.prompt.answer_prefix=none",
    ),
    Case("half a surrogate pair", ["--config.prompt.template=\udcff{text}"], "config.prompt.template", "remove it"),
    Case("NUL in a template", ["--config.prompt.system=\0"], "config.prompt.system", "remove it"),
    Case(
        "the study's prompt changed",
        ["--config.prompt.format=paper", "--config.prompt.labels=XY"],
        "config.prompt.labels",
        "fixed",
    ),
)
CASES = QUESTIONS + PROMPTS


@pytest.mark.fault("questions that are none, or in no text", promise="line and remedy, before a model is loaded")
@each(QUESTIONS)
def test_questions(case, refused, tmp_path):
    (tmp_path / "q.txt").write_bytes(case.given)
    refused(case, "ask", "--model=./nowhere", str(tmp_path / "q.txt"))


@pytest.mark.fault("words of prompts that cannot be asked", promise="one message, before anything is sent")
@each(PROMPTS)
def test_prompts(case, refused, config_of, tmp_path):
    """Texts are checked before anything is sent or loaded."""
    where = ["--base-url=http://127.0.0.1:9/v1", "--api-model=m", f"--workdir={tmp_path / 'run'}"]
    refused(case, "api", config_of("synthetic"), *where, *case.given)


def test_terminals_are_not_steered():
    from moral_jax.cli import ask as questions

    record = {"question": "Was\x1b[2J it\x9b?", "text": "", "options": ["y\x07", "\u202eon"], "id": "1", "entropy": 0.7,
              "probabilities": [0.5, 0.5], "option_mass": None, "concentration": 2.0}  # fmt: skip
    assert questions.as_text(record, is_unicode=True).replace("\n", "").isprintable()
    assert questions.as_json(record, is_unicode=True).isprintable()
    assert json.loads(questions.as_json(record, is_unicode=True))["options"] == record["options"]
