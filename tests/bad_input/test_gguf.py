"""Tests GGUF files written byte by byte: wrong counts, lengths, types and offsets."""

import struct

import gguf
import numpy as np
import pytest

from tests.bad_input import models
from tests.bad_input.refusal import Case, each

STRING, ARRAY, UINT32, UINT64, FLOAT32, BOOL, INT32 = 8, 9, 4, 10, 6, 7, 5
F32, F16, Q4_0 = 0, 1, 2


def u32(value):
    return struct.pack("<I", value)


def u64(value):
    return struct.pack("<Q", value)


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return u64(len(data)) + data


def field(key, kind, value):
    return text(key) + u32(kind) + value


def texts(*values):
    return u32(STRING) + u64(len(values)) + b"".join(map(text, values))


def tensor(name="x", shape=(32,), kind=F32, place=0):
    return text(name) + u32(len(shape)) + b"".join(map(u64, shape)) + u32(kind) + u64(place)


def header(tensors=0, fields=0, version=3, magic=b"GGUF"):
    return magic + u32(version) + u64(tensors) + u64(fields)


def file(fields=(), tensors=(), data=128, align=32):
    head = header(len(tensors), len(fields)) + b"".join(fields) + b"".join(tensors)
    return head + b"\0" * (-len(head) % align) + b"\0" * data


LLAMA = {
    "general.architecture": (STRING, text("llama")),
    "llama.block_count": (UINT32, u32(1)),
    "llama.context_length": (UINT32, u32(64)),
    "llama.embedding_length": (UINT32, u32(32)),
    "llama.feed_forward_length": (UINT32, u32(32)),
    "llama.attention.head_count": (UINT32, u32(4)),
    "llama.attention.layer_norm_rms_epsilon": (FLOAT32, struct.pack("<f", 1e-5)),
    "tokenizer.ggml.model": (STRING, text("gpt2")),
    "tokenizer.ggml.pre": (STRING, text("gpt-2")),
    "tokenizer.ggml.tokens": (ARRAY, texts(*"abcdefgh")),
    "tokenizer.ggml.merges": (ARRAY, texts()),
}
EMBEDDING = tensor("token_embd.weight", (32, 8))


def llama(tensors=(EMBEDDING,), without=(), **changes):
    """Returns a small model file without most of its tensors; `a__b` in a keyword is the field "a.b"."""
    fields = {k: v for k, v in LLAMA.items() if k not in without} | {
        k.replace("__", "."): v for k, v in changes.items()
    }
    return file([field(k, *v) for k, v in fields.items()], tensors, data=4096)


def words(**changes):
    return llama(**{f"tokenizer__ggml__{k}": v for k, v in changes.items()})


NOT_READABLE = "not a readable GGUF file"
HEADERS = (
    Case("empty", b"", NOT_READABLE, "fetch it again"),
    Case("four bytes", b"GGUF", "the version of 4 bytes, but 0 are left", "fetch it again"),
    Case("another magic", header(magic=b"GGML"), "it does not begin with GGUF", "fetch it again"),
    Case("a pickle", b"\x80\x04N." * 10, "it does not begin with GGUF", "fetch it again"),
    Case("version 1", header(version=1), "version 1", "2 and 3 are read"),
    Case("big-endian", b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "version 50331648", "2 and 3 are read"),
    Case("10^12 tensors", header(tensors=10**12), "1000000000000 tensors", "fetch it again"),
    Case("2^64 - 1 tensors", header(tensors=2**64 - 1), "18446744073709551615 tensors", "fetch it again"),
    Case("2^60 fields", header(fields=2**60) + field("a", UINT32, u32(1)), "fields", "fetch it again"),
    Case("a field too few", header(fields=2) + field("a", UINT32, u32(1)), "2 fields", "fetch it again"),
    Case(
        "a key of 2^60 bytes",
        header(fields=1) + u64(2**60) + b"a" * 32,
        "a key of 1152921504606846976",
        "fetch it again",
    ),
    Case(
        "a key of 100 kB",
        header(fields=1) + text("k" * 100_000) + u32(0) * 4,
        "a key of 100000 bytes",
        "fetch it again",
    ),
    Case(
        "a key that is no text", file([field(b"\xff\xfe", UINT32, u32(1))]), "a key that is not UTF-8", "fetch it again"
    ),
    Case("a key twice", file([field("a", UINT32, u32(1))] * 2), "the key 'a' appears twice", "fetch it again"),
    Case(
        "a value of 2^60 bytes", file([field("a", STRING, u64(2**60))]), "'a' of 1152921504606846976", "fetch it again"
    ),
    Case(
        "a value that is no text", file([field("a", STRING, text(b"\xff"))]), "'a' that is not UTF-8", "fetch it again"
    ),
    Case("a type of tomorrow", file([field("a", 77, u64(0))]), "'a' of unknown type 77", "fetch it again"),
    Case(
        "2^60 numbers",
        file([field("a", ARRAY, u32(UINT32) + u64(2**60))]),
        "'a' of 1152921504606846976 numbers",
        "fetch it again",
    ),
    Case(
        "2^60 texts",
        file([field("a", ARRAY, u32(STRING) + u64(2**60))]),
        "'a' of 1152921504606846976 strings",
        "fetch it",
    ),
    Case("2^60 arrays", file([field("a", ARRAY, u32(ARRAY) + u64(2**60))]), "an array of type 9", "fetch it again"),
    Case("an array of nothing", file([field("a", ARRAY, u32(99) + u64(1))]), "an array of type 99", "fetch it again"),
    Case(
        "a cut array of texts",
        file([field("a", ARRAY, u32(STRING) + u64(9) + text("x"))], data=0),
        "'a'",
        "fetch it again",
    ),
    Case(
        "no alignment", file([field("general.alignment", UINT32, u32(0))]), "an alignment of 0 bytes", "fetch it again"
    ),
    Case(
        "an odd alignment", file([field("general.alignment", UINT32, u32(33))]), "an alignment of 33 bytes", "fetch it"
    ),
    Case(
        "a huge alignment",
        file([field("general.alignment", UINT32, u32(2**31))]),
        "an alignment of 2147483648",
        "fetch it",
    ),
    Case(
        "alignment as text",
        file([field("general.alignment", STRING, text("32"))]),
        "general.alignment",
        "fetch it again",
    ),
    Case("a tensor's name of 2^60", file(tensors=[u64(2**60) + b"x" * 16]), "the name of a tensor", "fetch it again"),
    Case(
        "a tensor of 2^32 - 1 dimensions", file(tensors=[text("x") + u32(2**32 - 1)]), "4294967295 dimensions", "fetch"
    ),
    Case("a tensor of no dimensions", file(tensors=[tensor(shape=())]), "tensor 'x' of 0 dimensions", "fetch it again"),
    Case(
        "a tensor of 2^124 numbers",
        file(tensors=[tensor(shape=(2**62, 2**62))]),
        "tensor 'x' has bytes 0 to",
        "fetch it",
    ),
    Case("a tensor of no numbers", file(tensors=[tensor(shape=(0, 32))]), "of shape [0, 32]", "fetch it again"),
    Case(
        "a tensor of half a block",
        file(tensors=[tensor(shape=(33,), kind=Q4_0)]),
        "of shape [33]",
        "fetch it again",
    ),
    Case("a tensor of an unknown type", file(tensors=[tensor(kind=199)]), "of unknown type 199", "fetch it again"),
    Case(
        "a tensor after the file", file(tensors=[tensor(place=2**40)]), "tensor 'x' has bytes 1099511627776", "fetch it"
    ),
    Case("a tensor that is cut", file(tensors=[tensor()], data=127), "bytes 0 to 128 of 127", "fetch it again"),
    Case("a tensor out of line", file(tensors=[tensor(place=1)]), "bytes 1 to 129", "fetch it again"),
    Case(
        "tensors that overlap",
        file(tensors=[tensor("x"), tensor("y", place=32)], data=4096),
        "overlaps another tensor",
        "fetch it again",
    ),
    Case(
        "tensors of one name",
        file(tensors=[tensor(), tensor(place=128)], data=256),
        "two tensors of the same name",
        "fetch",
    ),
    Case("a tensor that is no number", file(tensors=[tensor(kind=24)]), "tensor 'x' is I8", "readable: F32"),
)
MODELS = (
    Case(
        "no architecture", llama(without=("general.architecture",)), "'general.architecture'", "convert the model again"
    ),
    Case("another architecture", llama(general__architecture=(STRING, text("gemma"))), "'gemma'", "supported: 'llama'"),
    Case("an architecture that is a number", llama(general__architecture=(UINT32, u32(1))), "found 1", "expected str"),
    Case("no embedding", llama(tensors=()), "'token_embd.weight'", "convert the model again"),
    Case("an embedding in one row", llama(tensors=[tensor("token_embd.weight")]), "'token_embd.weight'", "convert"),
    Case("no layers", llama(without=("llama.block_count",)), "'llama.block_count'", "is missing"),
    Case("zero layers", llama(llama__block_count=(UINT32, u32(0))), "num_hidden_layers=0", "a whole number from 1"),
    Case(
        "4 billion layers", llama(llama__block_count=(UINT32, u32(2**32 - 1))), "num_hidden_layers=4294967295", "1024"
    ),
    Case("layers in words", llama(llama__block_count=(STRING, text("many"))), "found 'many'", "expected int"),
    Case("no heads", llama(llama__attention__head_count=(UINT32, u32(0))), "num_attention_heads=0", "a whole number"),
    Case(
        "heads layer by layer",
        llama(llama__attention__head_count=(ARRAY, u32(INT32) + u64(2) + u32(4) * 2)),
        "[4, 4]",
        "int",
    ),
    Case(
        "an epsilon that is none",
        llama(llama__attention__layer_norm_rms_epsilon=(FLOAT32, struct.pack("<f", np.nan))),
        "rms_norm_eps=nan",
        "a positive number",
    ),
    Case(
        "2^63 positions", llama(llama__context_length=(UINT64, u64(2**63))), "max_position_embeddings", "a whole number"
    ),
    Case("rope that is scaled", llama(llama__rope__scaling__type=(STRING, text("su"))), "'su'", "not supported"),
    Case(
        "rope divisors of another size",
        llama([EMBEDDING, tensor("rope_freqs.weight", (32,), place=1024)]),
        "rope_freqs",
        "for each pair",
    ),
    Case("no words", llama(without=("tokenizer.ggml.tokens",)), "'tokenizer.ggml.tokens'", "is missing"),
    Case(
        "words that are numbers",
        words(tokens=(ARRAY, u32(UINT32) + u64(1) + u32(7))),
        "'tokenizer.ggml.tokens'",
        "expected a list of strings",
    ),
    Case("words that are one", words(tokens=(STRING, text("abc"))), "found 'abc'", "expected list"),
    Case("words of another kind", words(model=(STRING, text("rwkv"))), "tokenizer model 'rwkv'", "supported: 'gpt2'"),
    Case(
        "cut by an unknown rule",
        words(pre=(STRING, text("martian"))),
        "'martian' is not supported",
        "--config.model.tokenizer",
    ),
    Case(
        "a beginning beyond the words",
        words(bos_token_id=(UINT32, u32(8))),
        "'tokenizer.ggml.bos_token_id' is 8",
        "8 tokens",
    ),
    Case(
        "an end before the words", words(eos_token_id=(INT32, struct.pack("<i", -1))), "eos_token_id' is -1", "8 tokens"
    ),
    Case("a beginning in words", words(bos_token_id=(STRING, text("<s>"))), "found '<s>'", "expected int"),
    Case(
        "merges of what is not there",
        words(merges=(ARRAY, texts("x y"))),
        "holds no tokenizer",
        "--config.model.tokenizer",
    ),
    Case("merges of one", words(merges=(ARRAY, texts("ab"))), "holds no tokenizer", "--config.model.tokenizer"),
    Case("no merges", llama(without=("tokenizer.ggml.merges",)), "'tokenizer.ggml.merges'", "is missing"),
    Case(
        "scores too few",
        words(model=(STRING, text("llama")), scores=(ARRAY, u32(FLOAT32) + u64(1) + u32(0))),
        "holds no tokenizer",
        "--config.model.tokenizer",
    ),
    Case("a template that is a number", words(add_bos_token=(UINT32, u32(1))), "found 1", "expected bool"),
)
CASES = HEADERS + MODELS


@pytest.mark.fault("a GGUF file whose header lies", promise="one message, exit code 2; work is bounded by its length")
@each(CASES)
def test_gguf(case, refused, tmp_path):
    (tmp_path / "m.gguf").write_bytes(case.given)
    models.ask(refused, case, tmp_path / "m.gguf")


def test_the_file_that_the_others_are_changes_of(tmp_path):
    from moral_jax.weights import load, tokenizer

    (tmp_path / "m.gguf").write_bytes(llama())
    assert load.read_spec(tmp_path / "m.gguf").width == 32
    assert len(tokenizer.load(tmp_path / "m.gguf")) == 8


def test_types_are_those_of_the_package():
    kinds = gguf.GGUFValueType
    assert [kinds.STRING, kinds.ARRAY, kinds.UINT32, kinds.UINT64, kinds.FLOAT32, kinds.BOOL, kinds.INT32] == [
        STRING, ARRAY, UINT32, UINT64, FLOAT32, BOOL, INT32,
    ]  # fmt: skip
