"""Tests tokenizers of folders and chat templates: data for transformers, and programs for Jinja."""

import json
import threading

import pytest

from moral_jax.prompts import chat
from tests.bad_input import models
from tests.bad_input.refusal import Case, each

WORDS, SETTINGS = "tokenizer.json", "tokenizer_config.json"


def spoilt(**changes):
    return lambda text: json.dumps(json.loads(text) | changes).encode()


def as_is(content):
    return lambda text: content


def beyond(text):
    """Gives a word of every question an id for which the model has no row."""
    words = json.loads(text)
    words["model"]["vocab"]["?"] = 4_000_000
    return json.dumps(words).encode()


FILES = (
    Case("empty", (WORDS, as_is(b"")), "model: holds no tokenizer", "--config.model.tokenizer=FOLDER"),
    Case("cut", (WORDS, lambda text: text[:500]), "model: holds no tokenizer", "fetch it again"),
    Case("a list", (WORDS, as_is(b"[]")), "model: holds no tokenizer", "fetch it again"),
    Case("no fields", (WORDS, as_is(b"{}")), "model: holds no tokenizer", "fetch it again"),
    Case("no text", (WORDS, as_is(b"\xff" * 100)), "model: holds no tokenizer", "fetch it again"),
    Case("a pickle", (WORDS, as_is(b"\x80\x04N.")), "model: holds no tokenizer", "fetch it again"),
    Case("nested 100,000 deep", (WORDS, as_is(b'{"a":' * 100_000)), "model: holds no tokenizer", "fetch it again"),
    Case("a model of another kind", (WORDS, spoilt(model={"type": "Magic"})), "holds no tokenizer", "fetch it again"),
    Case("a model without words", (WORDS, spoilt(model={"type": "BPE"})), "holds no tokenizer", "fetch it again"),
    Case(
        "merges of words that are not there",
        (WORDS, spoilt(model={"type": "BPE", "vocab": {"a": 0}, "merges": ["x y"]})),
        "holds no tokenizer",
        "fetch it again",
    ),
    Case(
        "a word with a negative number",
        (WORDS, spoilt(model={"type": "BPE", "vocab": {"a": -1}, "merges": []})),
        "holds no tokenizer",
        "fetch it again",
    ),
    Case(
        "a word beyond the model",
        (WORDS, beyond),
        "token 4000000 is beyond the model's",
        "take the model's own",
    ),
    Case("a normaliser of another kind", (WORDS, spoilt(normalizer={"type": "X"})), "holds no tokenizer", "fetch it"),
    Case(
        "a normaliser that panics when it is read",
        (WORDS, spoilt(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"})),
        "model: holds no tokenizer",
        "fetch it again",
    ),
    Case(
        "an end that panics when it is used",
        (
            WORDS,
            spoilt(
                post_processor={
                    "type": "TemplateProcessing",
                    "single": [{"SpecialToken": {"id": "x", "type_id": 0}}],
                    "pair": [],
                    "special_tokens": {},
                }
            ),
        ),
        "this tokenizer cannot read the text",
        "--config.model.tokenizer=FOLDER",
    ),
    Case("a file elsewhere", (SETTINGS, spoilt(tokenizer_file="/etc/hostname")), "tokenizer_file=", "remove the entry"),
    Case("words elsewhere", (SETTINGS, spoilt(vocab_file="../../x")), "vocab_file='../../x'", "remove the entry"),
    Case("settings that are a list", (SETTINGS, as_is(b"[1]")), SETTINGS, "expected a JSON object"),
    Case("settings cut", (SETTINGS, lambda text: text[:-20]), SETTINGS, "not valid JSON"),
    Case("a key twice", (SETTINGS, as_is(b'{"a": 1, "a": 2}')), SETTINGS, "appears twice"),
    Case(
        "code of its own",
        (SETTINGS, spoilt(auto_map={"AutoTokenizer": ["evil.Evil", "evil.Evil"]}, tokenizer_class="Evil")),
        "tokenizer_class='Evil' is code of the folder's own (auto_map), which is never run",
        "--config.model.tokenizer=FOLDER",
    ),
)
TEMPLATES = (
    Case(
        "attributes", "{{ ''.__class__.__mro__[1].__subclasses__() }}", "chat template failed (SecurityError", "plain"
    ),
    Case("globals", "{{ cycler.__init__.__globals__.os.popen('touch executed') }}", "SecurityError", "plain"),
    Case("the frame", "{{ raise_exception.__globals__ }}", "leaves the question out", "plain"),
    Case("a format string", "{{ '{0.__class__}'.format(messages) }}", "leaves the question out", "plain"),
    Case("an attribute by filter", "{{ (messages|attr('__class__'))() }}", "chat template failed", "plain"),
    Case("a change of the messages", "{{ messages.append(1) }}", "SecurityError", "plain"),
    Case("another file", "{% include '/etc/passwd' %}", "chat template failed (TypeError", "plain"),
    Case("an import", "{% import 'os' as os %}", "chat template failed (TypeError", "plain"),
    Case("no template", "{% for m in messages %}", "chat template failed (TemplateSyntaxError", "plain"),
    Case("a filter that does not exist", "{{ messages|execute }}", "chat template failed (Template", "plain"),
    Case("a refusal of its own", "{{ raise_exception('no system turns') }}", "no system turns", "plain"),
    Case("a division by zero", "{{ 1 / 0 }}", "chat template failed (ZeroDivisionError", "plain"),
    Case("a sum of kinds", "{{ 1 + 'a' }}", "chat template failed (TypeError", "plain"),
    Case("a recursion", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "failed (RecursionError", "plain"),
    Case("a range of 10^9", "{% for i in range(10**9) %}x{% endfor %}", "failed (OverflowError", "plain"),
    Case(
        "a loop in a loop",
        "{% for i in range(9**5) %}{% for j in range(9**5) %}{% endfor %}{% endfor %}",
        "longer",
        "plain",
    ),
    Case(
        "a number of 3 billion digits", "{{ (10**1000000)**3000 }}{{ messages[0].content }}", "longer than 1 s", "plain"
    ),
    Case("10 GB of letters", "{{ 'a' * 10**10 }}", "failed (MemoryError", "plain"),
    Case("2 GB of blanks", "{{ '%2000000000d' % 1 }}", "failed (MemoryError", "plain"),
    Case("a million letters", "{{ 'a' * 3000000 }}", "adds 3000000 characters", "plain"),
    Case("nothing at all", "{{ '' }}", "leaves the question out", "plain"),
    Case("another question", "{{ messages[0].role }}: Was it right?", "leaves the question out", "plain"),
)
CASES = FILES + TEMPLATES


@pytest.fixture
def model(tiny_folder, tmp_path):
    return models.copy(tiny_folder, tmp_path / "model")


@pytest.mark.fault("a tokenizer that is damaged, points elsewhere or brings code", promise="one message, nothing runs")
@each(FILES)
def test_files(case, refused, model, tmp_path):
    name, spoil = case.given
    (model / name).write_bytes(spoil((model / name).read_bytes()))
    (model / "evil.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\nclass Evil: pass\n")
    models.ask(refused, case, model)
    assert not (tmp_path / "executed").exists()


@pytest.mark.fault("a chat template that attacks", promise="Jinja's sandbox stops it; one message, nothing runs")
@each(TEMPLATES)
def test_templates(case, refused, model, monkeypatch, tmp_path):
    monkeypatch.setattr(chat, "SECONDS", 1.0)
    (model / "chat_template.jinja").write_text(case.given)
    models.ask(refused, case, model, "--config.prompt.family=clean")
    assert not (tmp_path / "executed").exists()


def test_templates_work_in_other_threads_too():
    class Words:
        chat_template = "x"

        def get_chat_template(self):
            return self.chat_template

        def apply_chat_template(self, messages, **_):
            return f"<user>{messages[-1]['content']}"

    said = []
    thread = threading.Thread(target=lambda: said.append(chat.renderer(Words())([{"role": "user", "content": "x"}])))
    thread.start()
    thread.join()
    assert said == ["<user>x"]
