"""Tests that every reader accepts valid input and answers any mutation of its bytes with UserError or success."""

import contextlib
import functools
import gzip
import json

import hypothesis
import pytest

from moral_jax.cli import ask as questions
from moral_jax.config import parsing, saved
from moral_jax.config.model import AdapterConfig
from moral_jax.models.families import from_hf
from moral_jax.respondents.api import replies
from moral_jax.tasks import archive
from moral_jax.types import UserError
from moral_jax.weights import gguf, gguf_config, hf, load, peft, tokenizer
from tests.bad_input import test_archives as packed
from tests.bad_input import test_gguf, test_peft, test_replies, test_rows
from tests.bad_input import test_runs as pages
from tests.bad_input.mutations import broken
from tests.helpers import examples, tiny
from tests.weights import by_hand


def settings(examples):
    return hypothesis.settings(
        max_examples=examples, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip


def survives(read, good, examples=60):
    """Reads `good`, then mutations of it, which may raise nothing but UserError."""
    read(good)

    @settings(examples)
    @hypothesis.given(broken(good))
    def check(data):
        with contextlib.suppress(UserError):
            read(data)

    check()


def via(file, read):
    """Turns a reader of files into a reader of bytes."""

    def of(data):
        file.write_bytes(data)
        return read(file)

    return of


@pytest.mark.fault("rows of votes, bytes of them lost, turned or replaced (hypothesis)", promise="read, or refused")
def test_votes(tmp_path):
    good = test_rows.line() + test_rows.line(id="r2", messages=[{"role": "user", "content": "x"}])
    survives(via(tmp_path / "r.jsonl", functools.partial(examples.of_task, "votes")), good, 200)
    survives(via(tmp_path / "r.jsonl.gz", functools.partial(examples.of_task, "votes")), gzip.compress(good, mtime=0))


@pytest.mark.parametrize(("task", "row"), [("dilemmas", test_rows.DILEMMA), ("anecdotes", test_rows.ANECDOTE)])
def test_scruples(tmp_path, task, row):
    survives(via(tmp_path / "r.jsonl", functools.partial(examples.of_task, task)), test_rows.line(row))


def test_questions(tmp_path):
    good = b'Was it? | yes | no\n{"question": "Was it?", "options": ["a", "b"], "text": "x"}\n'
    survives(via(tmp_path / "q.txt", lambda p: list(questions.read(p.open("rb"), "q"))), good)


def test_archives(tmp_path):
    read = lambda p: archive.extract(p, archive.DILEMMAS, tmp_path)  # noqa: E731
    survives(via(tmp_path / "a.tar.gz", read), packed.GOOD)
    survives(via(tmp_path / "a.tar.gz", read), gzip.compress(gzip.decompress(packed.GOOD), 0))


@pytest.mark.fault("safetensors and index, mutated by hypothesis", promise="read, or refused")
def test_safetensors(tmp_path):
    by_hand.write(tmp_path / "model.safetensors", by_hand.header({"a": ("F32", (2, 3)), "b": ("F32", (4,))}), 40)
    good = (tmp_path / "model.safetensors").read_bytes()

    def read(path):
        folder = hf.SafetensorsFolder(path.parent)
        return [folder.read(name, (slice(0, 1),)) for name in folder.names() if folder.shape(name)]

    survives(via(tmp_path / "model.safetensors", read), good, 200)
    (tmp_path / "model.safetensors").unlink()  # a second set of weights would be refused
    (tmp_path / "x.safetensors").write_bytes(good)
    index = json.dumps({"weight_map": {"a": "x.safetensors", "b": "x.safetensors"}}).encode()
    survives(via(tmp_path / hf.INDEX, lambda p: hf.SafetensorsFolder(p.parent)), index)


@pytest.mark.fault("GGUF files with their tokenizer, mutated by hypothesis", promise="read, or refused")
def test_gguf_files(tmp_path):
    def read(path):
        gguf.open_gguf.cache_clear()
        from_hf(gguf_config.hf_config(gguf.open_gguf(path)))
        tokenizer.load(path)

    survives(via(tmp_path / "m.gguf", read), test_gguf.llama(), 300)


def test_model_configs(tmp_path):
    for config in (tiny.hf_config(tiny.spec()), tiny.hf_encoder_config(tiny.encoder_spec())):
        survives(via(tmp_path / "config.json", lambda p: load.read_spec(p.parent)), json.dumps(config).encode(), 100)


def test_tokenizers(tmp_path, tiny_folder):
    good = (tiny_folder / "tokenizer.json").read_bytes()
    (tmp_path / "tokenizer_config.json").write_bytes((tiny_folder / "tokenizer_config.json").read_bytes())
    survives(via(tmp_path / "tokenizer.json", lambda p: tokenizer.load(p.parent)("Was it?")), good, 60)
    (tmp_path / "tokenizer.json").write_bytes(good)
    settings = (tiny_folder / "tokenizer_config.json").read_bytes()
    survives(via(tmp_path / "tokenizer_config.json", lambda p: tokenizer.load(p.parent)), settings, 60)


def test_saved_configs(tmp_path):
    saved.save(parsing.from_flags([], file_needed=False), tmp_path / "config.json")
    survives(via(tmp_path / "config.json", saved.read), (tmp_path / "config.json").read_bytes(), 100)


def test_adapters(tmp_path):
    config = AdapterConfig(kind="lora", rank=4, alpha=8.0)
    survives(via(tmp_path / "adapter_config.json", lambda p: peft._check_config(p, config)), test_peft.said())


@pytest.mark.parametrize(("endpoint", "made"), [("chat", test_replies.reply()), ("completions", None)])
def test_replies_of_apis(endpoint, made):
    made = made or json.dumps(test_replies.stub.completions({"prompt": "x"})).encode()

    def read(data):
        try:
            reply = json.loads(data)
        except (ValueError, RecursionError):  # the HTTP client reports it
            return
        if isinstance(reply, dict):
            got = replies.parse(reply, endpoint)
            replies.bounded(got.top, (("A", " A"), ("B", " B")))
            json.dumps(got, allow_nan=False, ensure_ascii=False).encode()

    survives(read, made, 200)


def test_runs(tmp_path):
    (tmp_path / "trained").mkdir()
    (tmp_path / "run.json").write_text('{"stages": ["trained"]}')
    record = pages.rows() * 3
    (tmp_path / pages.RECORDS).write_bytes(record)
    survives(via(tmp_path / pages.METRICS, lambda p: source_of(tmp_path)), pages.said(), 100)
    (tmp_path / pages.METRICS).write_bytes(pages.said())
    survives(via(tmp_path / pages.RECORDS, lambda p: source_of(tmp_path)), record, 100)


def source_of(folder):
    """Makes all parts of a page except its pictures, which are slow."""
    from moral_jax.report import source, words

    s = source.read(folder)
    words.main_table(s), words.more_table(s), words.group_tables(s), words.verdict(s), words.surprises(s.last)
