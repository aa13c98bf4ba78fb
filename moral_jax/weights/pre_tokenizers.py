"""How byte-level vocabularies cut text before merges, by the names in GGUF files (`tokenizer.ggml.pre`).

Expressions are those of the models' own tokenizers. What llama.cpp knows of them beside the file stands here too.
"""

from typing import NamedTuple

from tokenizers import Regex, pre_tokenizers

_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_BEFORE = r"[^\r\n\p{L}\p{N}]?"


class Cut(NamedTuple):
    """The rules of one kind of vocabulary."""

    pattern: str | None = None  # None: the rule of GPT-2
    single_digits: bool = False  # beside the rule of GPT-2
    takes_words: bool = False  # words of the vocabulary are taken whole, before any merge
    adds_bos: bool = False  # where the file does not say
    composes: bool = False  # letters and their accents are joined first (NFC)


_LLAMA3 = rf"{_ENDINGS}|{_BEFORE}\p{{L}}+|\p{{N}}{{1,3}}|{_REST}"
_QWEN2 = rf"{_ENDINGS}|{_BEFORE}\p{{L}}+|\p{{N}}|{_REST}"
_CASES = rf"{_BEFORE}{_UPPER}*{_LOWER}+%s|{_BEFORE}{_UPPER}+{_LOWER}*%s"
_SLASHED = _REST.replace(r"[\r\n]*", r"[\r\n/]*", 1)
CUTS = {
    "gpt-2": Cut(),
    "phi-2": Cut(),
    "olmo": Cut(),
    "smollm": Cut(single_digits=True),
    "llama-bpe": Cut(_LLAMA3, takes_words=True, adds_bos=True),
    "dbrx": Cut(_LLAMA3),  # OLMo 2, Phi-4
    "qwen2": Cut(_QWEN2, composes=True),
    "tekken": Cut(rf"{_CASES % ('', '')}|\p{{N}}|{_SLASHED}", takes_words=True, adds_bos=True),  # Mistral Nemo, Small
    "gpt-4o": Cut(rf"{_CASES % (_ENDINGS + '?', _ENDINGS + '?')}|\p{{N}}{{1,3}}|{_SLASHED}"),  # Phi-4-mini
}


def pre_tokenizer(cut: Cut) -> pre_tokenizers.PreTokenizer | None:
    """Returns the pre-tokenizer; None: that of GPT-2."""
    if cut.pattern is not None:
        whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(cut.pattern), behavior="isolated"), whole])
    if cut.single_digits:
        digits = pre_tokenizers.Digits(individual_digits=True)
        return pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return None
