"""The tokens that an option begins with, for each kind of tokenizer: letters after a colon and after a line, and
options that a vocabulary lacks."""

import json

import gguf
import pytest
from transformers import Qwen2Tokenizer

from moral_jax.data import encode
from moral_jax.prompts.render import Rendered
from moral_jax.types import UserError
from moral_jax.weights import tokenizer
from moral_jax.weights.gguf import GgufFile
from tests.helpers import vocabularies as v
from tests.weights import by_hand

LETTERS = (("A", " A"), ("B", " B"))
# kind: how it spells letters after "Answer:", where a space may come first, and after the line of an assistant's turn
KINDS = {
    "byte-level, GPT-2's cuts (Phi-2)": ("gpt-2", [["A", "ĠA"], ["B", "ĠB"]], [["A", "ĠA"], ["B", "ĠB"]]),
    "byte-level, single digits (SmolLM2)": ("smollm", [["A", "ĠA"], ["B", "ĠB"]], [["A", "ĠA"], ["B", "ĠB"]]),
    "tiktoken-like (Llama 3, SmolLM3)": ("llama-bpe", [["A", "ĠA"], ["B", "ĠB"]], [["A", "ĠA"], ["B", "ĠB"]]),
    "tiktoken-like, composed letters (Qwen)": ("qwen2", [["A", "ĠA"], ["B", "ĠB"]], [["A", "ĠA"], ["B", "ĠB"]]),
    "tekken (Mistral Nemo, Small)": ("tekken", [["A", "ĠA"], ["B", "ĠB"]], [["A", "ĠA"], ["B", "ĠB"]]),
    "GPT-4o's (Phi-4-mini)": ("gpt-4o", [["A", "ĠA"], ["B", "ĠB"]], [["A", "ĠA"], ["B", "ĠB"]]),
    "SentencePiece with bytes (Llama 2, Phi-3)": ("prefix", [["A", "▁A"], ["B", "▁B"]], [["A", "▁A"], ["B", "▁B"]]),
    "SentencePiece without prefix (Gemma)": ("bare", [["A", "▁A"], ["B", "▁B"]], [["A", "▁A"], ["B", "▁B"]]),
}


def words_of(kind):
    name = KINDS[kind][0]
    return v.byte_fallback(prefix=name == "prefix") if name in ("prefix", "bare") else v.byte_level(name)


def pieces(words, prompt, answers=LETTERS):
    got = encode.encode(words, Rendered(prompt, answers, has_specials=False, answers_are_tokens=False))
    return [words.convert_ids_to_tokens(list(ids)) for ids in got.option_ids]


@pytest.mark.parametrize("kind", KINDS)
def test_letters(kind):
    _, after_colon, after_line = KINDS[kind]
    assert pieces(words_of(kind), "Which?\nAnswer:") == after_colon
    assert pieces(words_of(kind), "Which?<|end|>\n<|assistant|>\n") == after_line


@pytest.mark.parametrize("kind", ["SentencePiece with bytes (Llama 2, Phi-3)", "SentencePiece without prefix (Gemma)"])
def test_options_that_are_bytes(kind):
    """Letters that a vocabulary lacks begin with a byte; if it is the same byte, they cannot be told apart."""
    assert pieces(words_of(kind), "Q\n", (("é",), ("你",))) == [["<0xC3>"], ["<0xE4>"]]
    with pytest.raises(UserError, match=r"\('é',\) and \('è',\) share their first token '<0xC3>'"):
        pieces(words_of(kind), "Q\n", (("é",), ("è",)))


@pytest.mark.parametrize(("cut", "digits"), [("llama-bpe", ["123", "4"]), ("qwen2", [*"1234"]), ("tekken", [*"1234"])])
def test_numbers_are_cut_as_each_kind_cuts_them(cut, digits):
    cutter = v.byte_level(cut).backend_tokenizer.pre_tokenizer
    assert [piece for piece, _ in cutter.pre_tokenize_str("1234")] == digits


@pytest.fixture(scope="module")
def tekken(tmp_path_factory):
    if v.tekken_file() is None:
        pytest.skip("the real tokenizers are missing: pip install mistral-common")
    path = tmp_path_factory.mktemp("tekken") / "m.gguf"
    return v.write_tekken(path), path


def test_real_tekken(tekken):
    """Mistral's own package cuts text alike; letters are told apart with and without a space."""
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    words, path = tekken
    theirs = Tekkenizer.from_file(v.tekken_file())
    few = Tekkenizer(
        json.loads(v.tekken_file().read_text())["vocab"][: v.RANKS],
        theirs._all_special_tokens[:10],
        theirs._model._pat_str,
        v.RANKS + 10,
        10,
        theirs.version,
    )
    for text in (
        "Which is worse?\n\nA. lying to 1,250 friends' cats\n\tB. naïve café — 你好 🙂",
        " A",
        "HTTPServer's",
        "",
    ):
        assert words(text, add_special_tokens=False)["input_ids"] == few.encode(text, bos=False, eos=False), text
    assert words("x")["input_ids"][0] == 1  # llama.cpp puts BOS before, where the file says nothing
    assert pieces(words, "Which?\nAnswer:") == [["A", "ĠA"], ["B", "ĠB"]]
    assert "tokenizer.ggml.add_bos_token" not in GgufFile(path).metadata


def test_qwens_class_cuts_alike():
    """transformers' own tokenizer of Qwen, with the vocabulary that was trained here."""
    mine = v.byte_level("qwen2")
    model = json.loads(mine.backend_tokenizer.to_str())["model"]
    theirs = Qwen2Tokenizer(vocab=model["vocab"], merges=[tuple(m) for m in model["merges"]])
    for text in ("It's 1,250 o'clock\n\n  B. cafe\u0301 — 你好", "WE'LL see\r\n", "   "):
        assert mine(text)["input_ids"] == theirs(text)["input_ids"], text


def test_unknown_rules_are_named(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("jina-v2")
    writer.add_token_list(["a"])
    by_hand.finish(writer)
    with pytest.raises(UserError, match="'jina-v2' is not supported; supported: gpt-2, .*qwen2, tekken"):
        tokenizer.load(tmp_path / "m.gguf")
