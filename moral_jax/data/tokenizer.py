"""Tokenizers: a folder's own, or rebuilt from the vocabulary inside a GGUF file."""

from pathlib import Path

from tokenizers import AddedToken, Regex, normalizers, pre_tokenizers
from transformers import (
    AutoTokenizer,
    GPT2Tokenizer,
    LlamaTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.tokenization_utils_base import generate_merges

from moral_jax.types import UserError
from moral_jax.weights.gguf import GgufFile, open_gguf

# How text is cut before byte-pair merges, by GGUF's `tokenizer.ggml.pre`. None: GPT-2's own rule.
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PRE_TOKENIZERS: dict[str, pre_tokenizers.PreTokenizer | None] = {
    "default": None,
    "gpt-2": None,
    "smollm": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    "llama-bpe": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_LLAMA3), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    ),
}
CONTROL, USER_DEFINED = 3, 4  # GGUF token types
SPACE = "▁"  # how SentencePiece writes a space


def _special_tokens(file: GgufFile, tokens: list[str]) -> dict[str, str]:
    ids = {name: file.metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos", "unknown", "padding")}
    names = {"unknown": "unk_token", "padding": "pad_token", "bos": "bos_token", "eos": "eos_token"}
    return {names[name]: tokens[int(i)] for name, i in ids.items() if i is not None}


def from_gguf(file: GgufFile) -> PreTrainedTokenizerBase:
    """Rebuilds the tokenizer of a GGUF file: byte-level BPE ("gpt2") or SentencePiece BPE ("llama")."""
    kind, tokens = file["tokenizer.ggml.model"], file["tokenizer.ggml.tokens"]
    vocab = {token: i for i, token in enumerate(tokens)}
    special = _special_tokens(file, tokens)
    if kind == "gpt2":
        pre = file.metadata.get("tokenizer.ggml.pre", "default")
        if pre not in PRE_TOKENIZERS:
            raise UserError(
                f"{file.path}: pre-tokenizer {pre!r} is not known; known: {', '.join(PRE_TOKENIZERS)}. "
                f"Pass the model's Hugging Face tokenizer with --config.model.tokenizer=FOLDER"
            )
        merges = [tuple(m.split(" ", 1)) for m in file["tokenizer.ggml.merges"]]
        tokenizer = GPT2Tokenizer(vocab=vocab, merges=merges, **special)
        if PRE_TOKENIZERS[pre] is not None:
            tokenizer.backend_tokenizer.pre_tokenizer = PRE_TOKENIZERS[pre]
        # GPT-2 files without the flag add nothing; SentencePiece files without it add BOS, as llama.cpp does
        adds_bos = file.metadata.get("tokenizer.ggml.add_bos_token", False)
    elif kind == "llama":
        scores = dict(zip(tokens, file["tokenizer.ggml.scores"], strict=True))
        tokenizer = LlamaTokenizer(vocab=vocab, merges=generate_merges(vocab, scores), **special)
        # transformers' own rule swallows a leading space; SentencePiece and llama.cpp put one in front instead
        prefix = [normalizers.Prepend(SPACE)] if file.metadata.get("tokenizer.ggml.add_space_prefix", True) else []
        tokenizer.backend_tokenizer.normalizer = normalizers.Sequence([*prefix, normalizers.Replace(" ", SPACE)])
        tokenizer.backend_tokenizer.pre_tokenizer = None
        adds_bos = file.metadata.get("tokenizer.ggml.add_bos_token", True)
    else:
        raise UserError(f"{file.path}: tokenizer model {kind!r} is not supported; supported: 'gpt2', 'llama'")
    types = file.metadata.get("tokenizer.ggml.token_type", [])
    uncut = [(t, k == CONTROL) for t, k in zip(tokens, types, strict=False) if k in (CONTROL, USER_DEFINED)]
    tokenizer.add_tokens([AddedToken(t, normalized=False, special=s) for t, s in uncut])
    tokenizer.add_bos_token = bool(adds_bos)
    # The classes of one family would build their own rules again when they are loaded; this one keeps what it is given
    whole = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, **special)
    whole.chat_template = file.metadata.get("tokenizer.chat_template")
    return whole


def load(path: Path) -> PreTrainedTokenizerBase:
    """Loads the tokenizer of a folder or of a GGUF file. Code in a model folder is never run."""
    if path.suffix == ".gguf":
        return from_gguf(open_gguf(path))
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as e:
        raise UserError(f"{path}: holds no tokenizer that transformers can read ({e})") from e
    if not tokenizer.is_fast:
        raise UserError(f"{path}: only a slow tokenizer is there; save tokenizer.json with it")
    return tokenizer
