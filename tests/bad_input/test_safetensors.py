"""Tests safetensors files, their index and links, written byte by byte and read by the command line."""

import json
import pickle
from pathlib import Path

import pytest

from moral_jax.weights import hf
from tests.bad_input import models
from tests.bad_input.refusal import Case, each
from tests.weights import by_hand

TWO = {"a": ("F32", (2, 3)), "b": ("F32", (4,))}
FILE = "model.safetensors"


def change(name, **fields):
    head = by_hand.header(TWO)
    return head | {name: head[name] | fields}


# the header, bytes of data, claimed length of the header
HEADERS = (
    Case("a header of 2^60 bytes", (change("a"), 40, 1 << 60), FILE, "fetch or write it again"),
    Case("a header of 101 MB", (change("a"), 40, 101_000_000), FILE, "expected 2 to 100000000"),
    Case("a header of no bytes", (change("a"), 40, 0), FILE, "expected 2 to"),
    Case("a header longer than the file", (change("a"), 40, 5000), FILE, "not valid JSON"),
    Case("a header cut short", (change("a"), 40, 30), FILE, "not valid JSON"),
    Case("no header", (b"", 0, 8), FILE, "not valid JSON"),
    Case("a byte too few", (change("a"), 39, None), FILE, "fetch or write it again"),
    Case("a byte too many", (change("a"), 41, None), FILE, "fetch or write it again"),
    Case("tensors that overlap", (change("b", data_offsets=[8, 24]), 24, None), FILE, "fetch or write it again"),
    Case("a hole between tensors", (change("b", data_offsets=[28, 44]), 44, None), FILE, "fetch or write it again"),
    Case(
        "a tensor of a petabyte", (change("b", data_offsets=[24, 1 << 50]), 40, None), FILE, "fetch or write it again"
    ),
    Case("a tensor before the file", (change("b", data_offsets=[-16, 0]), 40, None), FILE, "fetch or write it again"),
    Case("a tensor backwards", (change("b", data_offsets=[40, 24]), 40, None), FILE, "fetch or write it again"),
    Case("offsets in words", (change("b", data_offsets=["a", "b"]), 40, None), FILE, "fetch or write it again"),
    Case("offsets of one number", (change("b", data_offsets=[24]), 40, None), FILE, "fetch or write it again"),
    Case("no offsets", (by_hand.header(TWO) | {"b": {"dtype": "F32", "shape": [4]}}, 40, None), FILE, "fetch or write"),
    Case("a shape of more numbers", (change("b", shape=[5]), 40, None), FILE, "fetch or write it again"),
    Case(
        "a shape of 2^124 numbers", (change("b", shape=[1 << 62, 1 << 62]), 40, None), FILE, "fetch or write it again"
    ),
    Case("a negative shape", (change("b", shape=[-4]), 40, None), FILE, "fetch or write it again"),
    Case("a fractional shape", (change("b", shape=[4.0]), 40, None), FILE, "fetch or write it again"),
    Case("a type of tomorrow", (change("b", dtype="F77"), 40, None), "tensor 'b' is of type 'F77'", "are read"),
    Case("eight bits", (change("b", dtype="F8_E4M3"), 40, None), "tensor 'b' is of type 'F8_E4M3'", "F32, F16, BF16"),
    Case(
        "whole numbers", (change("b", dtype="I64"), 40, None), "tensor 'b' is of type 'I64'", "F32, F16, BF16 are read"
    ),
    Case("a type that is a list", (change("b", dtype=["F32"]), 40, None), "tensor 'b' is of type ['F32']", "are read"),
    Case("a tensor that is a number", (by_hand.header(TWO) | {"b": 7}, 40, None), "tensor 'b'", "are read"),
    Case("a name of 10,000 letters", ({"n" * 10_000: {"dtype": "F9"}}, 0, None), "tensor 'nnn", "are read"),
    Case("a name twice", (b'{"a": {}, "a": {}}', 0, None), "the key 'a'", "appears twice"),
    Case("a list for a header", (b"[1, 2]", 0, None), FILE, "expected a JSON object"),
    Case("a header nested 100,000 deep", (b"[" * 100_000, 0, None), FILE, "not valid JSON"),
    Case("a number of 5,000 digits", (b'{"a": ' + b"1" * 5000 + b"}", 0, None), FILE, "not valid JSON"),
    Case("a header that is no text", (b"\xff\xfe", 0, None), FILE, "not valid JSON"),
    Case("metadata that is a number", (by_hand.header(TWO) | {"__metadata__": 7}, 40, None), FILE, "fetch or write"),
    Case("other tensors", (by_hand.header(TWO), 40, None), "tensors are missing", "of one model"),
)


class Evil:
    """A pickle that reports that it was opened."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


A, B = {"a": ("F32", (2,))}, {"b": ("F32", (2,))}
INDICES = (
    Case("a file that does not hold it", {"a": "y.safetensors"}, "y.safetensors", "the file does not hold it"),
    Case("a file that is not there", {"b": "z.safetensors"}, "tensor 'b' lies in 'z.safetensors'", "is not in"),
    Case("a tensor in two files", {"a": "x.safetensors", "b": "both.safetensors"}, "both.safetensors", "puts into"),
    Case("a tensor that is not listed", {"b": "both.safetensors"}, "both.safetensors", "does not list"),
    Case("NUL in a name", {"a": "x\0.safetensors"}, "tensor 'a' points to 'x\\x00", "only plain file names"),
    Case("the folder above", {"a": "../x.safetensors"}, "'../x.safetensors'", "only plain file names"),
    Case("the root", {"a": "/etc/passwd"}, "'/etc/passwd'", "only plain file names"),
    Case("this folder", {"a": "."}, "points to '.'", "only plain file names"),
    Case("a pickle", {"a": "pytorch_model.bin"}, "'pytorch_model.bin'", "only .safetensors files are read"),
    Case("a list", {"a": ["x.safetensors"]}, "points to ['x.safetensors']", "only plain file names"),
    Case("no names", {}, "tensors are missing", "of one model"),
    Case("a map that is a list", [], "model.safetensors.index.json", "an object under 'weight_map'"),
    Case("a name twice", b'{"weight_map": {"a": "x", "a": "y"}}', "the key 'a'", "appears twice"),
    Case("no JSON", b"PK\x03\x04", "model.safetensors.index.json", "not valid JSON"),
)
LINKS = (
    Case("weights elsewhere", FILE, "is a link to", "put the file itself there"),
    Case("config elsewhere", "config.json", "is a link to", "put the file itself there"),
    Case("words elsewhere", "tokenizer.json", "is a link to", "put the file itself there"),
    Case("template elsewhere", "tokenizer_config.json", "is a link to", "put the file itself there"),
)
CASES = HEADERS + INDICES + LINKS


@pytest.fixture
def model(tiny_folder, tmp_path):
    return models.copy(tiny_folder, tmp_path / "model")


@pytest.mark.fault("safetensors whose header lies", promise="one message, exit code 2; nothing is allocated by it")
@each(HEADERS)
def test_headers(case, refused, model):
    head, data, said = case.given
    by_hand.write(model / FILE, head, data, said)
    models.ask(refused, case, model)


@pytest.mark.fault("an index that lies or leads elsewhere", promise="one message, exit code 2; no other file is read")
@each(INDICES)
def test_indices(case, refused, model):
    (model / FILE).unlink()
    for name, tensors in {"x": A, "y": B, "both": A | B}.items():
        by_hand.write(model / f"{name}.safetensors", by_hand.header(tensors), 8 * len(tensors))
    mark = model.parent / "executed"
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(mark)))
    text = case.given if isinstance(case.given, bytes) else json.dumps({"weight_map": case.given}).encode()
    (model / hf.INDEX).write_bytes(text)
    models.ask(refused, case, model)
    assert not mark.exists()


@pytest.mark.fault("a model's file that is a link out of its folder", promise="refused by name")
@each(LINKS)
def test_links(case, refused, model, tmp_path):
    (model / case.given).rename(tmp_path / "elsewhere")
    (model / case.given).symlink_to(Path("..") / "elsewhere")
    models.ask(refused, case, model)


@pytest.mark.fault("a model folder with pickles only", promise="they are named and never opened")
def test_pickles_are_never_opened(refused, model, tmp_path):
    mark = tmp_path / "executed"
    (model / FILE).unlink()
    for name in ("pytorch_model.bin", "model.pt", "training_args.bin", "optimizer.pt"):
        (model / name).write_bytes(pickle.dumps(Evil(mark)))
    models.ask(refused, Case("", None, "is a pickle and is never read", "convert it"), model)
    assert not mark.exists()
    pickle.loads((model / "model.pt").read_bytes())  # the trap itself works
    assert mark.exists()
