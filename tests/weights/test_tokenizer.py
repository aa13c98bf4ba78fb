"""Tokenizers rebuilt from GGUF vocabularies."""

import json
import shutil

import gguf
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from moral_jax.types import UserError
from moral_jax.weights import tokenizer
from moral_jax.weights.gguf import GgufFile
from tests.weights import by_hand

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
    by_hand.finish(writer)
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


@pytest.fixture
def folder(tmp_path):
    """A byte-level tokenizer that cuts digits one by one, though its vocabulary has a word of two."""
    words = {c: i for i, c in enumerate([*"12abĠ", "ab", "12", "<s>"])}
    made = Tokenizer(models.BPE(vocab=words, merges=[("a", "b"), ("1", "2")]))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.add_special_tokens(["<s>"])
    made.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / "tokenizer_config.json").write_text("{}")
    return tmp_path


TEXT, CUT = "12 ab", ["1", "2", "Ġ", "ab"]


def names(words, text):
    return words.convert_ids_to_tokens(words(text)["input_ids"])


@pytest.mark.parametrize(
    "kind", ["GPT2Tokenizer", "LlamaTokenizer", "LlamaTokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend"]
)
@pytest.mark.fault(
    "a tokenizer whose class would cut text otherwise than its file", promise="text is cut as the file says"
)
def test_text_is_cut_as_the_file_says_whatever_its_class_is_called(folder, kind):
    """Classes of transformers rebuild rules of their own: spaces vanish, digits merge."""
    settings = {"tokenizer_class": kind, "bos_token": "<s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    words = tokenizer.load(folder)
    assert names(words, TEXT) == CUT
    words.save_pretrained(folder / "saved")
    assert names(tokenizer.load(folder / "saved"), TEXT) == CUT


def test_a_second_tokenizer_of_mistral_is_left_alone(folder, mistral_spm):
    """transformers would prefer tekken.json, which is a tokenizer of another kind."""
    (folder / "config.json").write_text(json.dumps({"model_type": "mistral"}))
    shutil.copy(mistral_spm.parent / "tekken_240911.json", folder / "tekken.json")
    assert names(tokenizer.load(folder), TEXT) == CUT


def test_settings_for_batches_do_not_reach_prompts(folder):
    """A tokenizer.json may say that texts are cut and filled up, and its settings that control tokens are text."""
    stored = Tokenizer.from_file(str(folder / "tokenizer.json"))
    stored.enable_truncation(2)
    stored.enable_padding(pad_id=7, pad_token="<s>", length=9)
    stored.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"split_special_tokens": True}))
    words = tokenizer.load(folder)
    assert names(words, TEXT + "<s>") == [*CUT, "<s>"]
    assert words.backend_tokenizer.encode(TEXT + "<s>").tokens == [*CUT, "<s>"]
