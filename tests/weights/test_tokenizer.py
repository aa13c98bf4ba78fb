"""Tokenizers rebuilt from GGUF vocabularies."""

import gguf
import pytest

from moral_jax.types import UserError
from moral_jax.weights import tokenizer
from moral_jax.weights.gguf import GgufFile

sentencepiece = pytest.importorskip("sentencepiece")

TEXTS = [
    "Which of these two actions is less ethical?",
    "A. keeping 1,250 dollars  that weren't mine\nB. naïve — 你好 🙂",
    " leading space",
    "",
]


def write(path, kind, **fields):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(kind)
    for name, value in fields.items():
        getattr(writer, f"add_{name}")(value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return GgufFile(path)


def test_sentencepiece_vocabulary_of_mistral(mistral_spm, tmp_path):
    """The rebuilt tokenizer cuts text as SentencePiece itself does, with BOS in front."""
    pieces = sentencepiece.SentencePieceProcessor(str(mistral_spm))
    n = pieces.vocab_size()
    file = write(
        tmp_path / "m.gguf",
        "llama",
        token_list=[pieces.id_to_piece(i) for i in range(n)],
        token_scores=[pieces.get_score(i) for i in range(n)],
        token_types=[3 if pieces.is_control(i) else 6 if pieces.is_byte(i) else 1 for i in range(n)],
        bos_token_id=1,
        eos_token_id=2,
        unk_token_id=0,
    )
    words = tokenizer.from_gguf(file)
    words.save_pretrained(tmp_path / "saved")
    for either in (words, tokenizer.load(tmp_path / "saved")):
        for text in TEXTS:
            assert either(text)["input_ids"] == [1, *pieces.encode(text)], text
        assert either("</s>")["input_ids"] == [1, 2]


def test_how_text_is_cut_before_merges_is_saved_too(tmp_path):
    """Llama 3 cuts digits into threes; the same vocabulary under GPT-2's own rule would merge four."""
    digits = [*"0123456789", "12", "123", "1234"]
    file = write(
        tmp_path / "m.gguf",
        "gpt2",
        token_list=[*digits, "<s>"],
        token_merges=["1 2", "12 3", "123 4"],
        token_types=[1] * len(digits) + [3],
        bos_token_id=len(digits),
        tokenizer_pre="llama-bpe",
    )
    words = tokenizer.from_gguf(file)
    words.chat_template = "{{ messages }}"
    words.save_pretrained(tmp_path / "saved")
    for either in (words, tokenizer.load(tmp_path / "saved")):
        assert either.convert_ids_to_tokens(either("12345<s>")["input_ids"]) == ["<s>", "123", "4", "5", "<s>"]
        assert either.chat_template == "{{ messages }}"
        assert either.bos_token == "<s>"


@pytest.mark.parametrize(
    ("pre", "flags", "want"),
    [
        ("llama-bpe", {}, ["<s>", "abc"]),  # no merge makes "abc", and the file does not say whether BOS comes first
        ("llama-bpe", {"add_bos_token": False}, ["abc"]),
        ("gpt-2", {}, ["ab", "c"]),
        ("gpt-2", {"add_bos_token": True}, ["<s>", "ab", "c"]),
    ],
)
def test_llama_3_takes_words_whole_after_a_bos(tmp_path, pre, flags, want):
    """llama.cpp's rules for the pre-tokenizer `llama-bpe`, which Llama 3's tokenizer.json spells out."""
    words = [*"abc", "ab", "abc", "<s>"]
    fields = {"token_list": words, "token_merges": ["a b"], "token_types": [1] * 5 + [3], "bos_token_id": 5}
    file = write(tmp_path / "m.gguf", "gpt2", tokenizer_pre=pre, **fields, **flags)
    rebuilt = tokenizer.from_gguf(file)
    rebuilt.save_pretrained(tmp_path / "saved")
    for either in (rebuilt, tokenizer.load(tmp_path / "saved")):
        assert either.convert_ids_to_tokens(either("abc")["input_ids"]) == want


@pytest.mark.parametrize("fields", [{}, {"tokenizer_pre": "default"}])
def test_a_rule_that_the_file_does_not_name_is_not_guessed(tmp_path, fields):
    file = write(tmp_path / "m.gguf", "gpt2", token_list=["a"], token_merges=["a b"], **fields)
    with pytest.raises(UserError, match="pre-tokenizer 'default' is not supported.*--config.model.tokenizer=FOLDER"):
        tokenizer.from_gguf(file)


def test_an_unknown_kind_is_named(tmp_path):
    file = write(tmp_path / "m.gguf", "t5", token_list=["a"])
    with pytest.raises(UserError, match="tokenizer model 't5' is not supported"):
        tokenizer.from_gguf(file)


def test_an_unknown_pre_tokenizer_names_the_remedy(tmp_path):
    file = write(tmp_path / "m.gguf", "gpt2", token_list=["a"], token_merges=["a b"], tokenizer_pre="martian")
    with pytest.raises(UserError, match="'martian' is not supported.*--config.model.tokenizer=FOLDER"):
        tokenizer.from_gguf(file)
