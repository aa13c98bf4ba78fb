"""Loads a folder's tokenizer, or rebuilds one from the vocabulary in a GGUF file.

A folder is loaded by transformers, after `_check_files` has refused links, oversized files and paths in the settings.
GGUF stores a vocabulary with merges (byte-level BPE) or scores (SentencePiece BPE), but not the rules around it.
`from_gguf` picks the transformers class of that kind, then replaces its pre-tokenizer or normaliser by those of
llama.cpp. `_fast_tokenizer` adds the special tokens and the chat template.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import transformers
from tokenizers import AddedToken, normalizers
from transformers import (
    AutoTokenizer,
    GPT2Tokenizer,
    LlamaTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.tokenization_utils_base import generate_merges

from moral_jax.runtime import panics, strict_json
from moral_jax.types import UserError
from moral_jax.weights import hf
from moral_jax.weights.gguf import GgufFile, open_gguf
from moral_jax.weights.pre_tokenizers import CUTS, pre_tokenizer

CONTROL, USER_DEFINED = 3, 4  # GGUF token types
SPACE = "▁"  # SentencePiece's character for a space
SPECIAL = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}  # GGUF: HF
WORDS = "tokenizer.json"
FILES = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken")  # files that transformers may read


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns any error raised inside the block into one UserError that names `path`."""
    try:
        with panics.as_errors():
            yield
    except UserError:
        raise
    except Exception as e:  # the Rust code of the tokenizers package raises bare Exception
        reason = " ".join(str(e).split())[:300]
        raise UserError(
            f"{path}: holds no tokenizer that transformers can read ({type(e).__name__}: {reason}); fetch it again, or "
            f"pass another with --config.model.tokenizer=FOLDER"
        ) from e


def _special_tokens(file: GgufFile, tokens: list[str]) -> dict[str, str]:
    """Returns the special tokens by Hugging Face's names, such as "bos_token"."""
    special = {}
    for name, hf_name in SPECIAL.items():
        key = f"tokenizer.ggml.{name}_token_id"
        if key in file.metadata:
            if not 0 <= (i := file.get(key, int)) < len(tokens):
                raise UserError(f"{file.path}: the metadata field {key!r} is {i}, but there are {len(tokens)} tokens")
            special[hf_name] = tokens[i]
    return special


def _byte_level(file: GgufFile, vocab: dict[str, int], special: dict[str, str]) -> GPT2Tokenizer:
    """Returns a byte-level BPE tokenizer with the pre-tokenizer that the file names.

    Older files name none, and "default" is no rule of any model: with a guess, text would be cut differently.
    """
    pre = file.get("tokenizer.ggml.pre", str, "default")
    if pre not in CUTS:
        raise UserError(
            f"{file.path}: pre-tokenizer {pre!r} is not supported; supported: {', '.join(CUTS)}. "
            f"Pass the model's Hugging Face tokenizer with --config.model.tokenizer=FOLDER"
        )
    merges = [tuple(m.split(" ", 1)) for m in file.texts("tokenizer.ggml.merges")]
    # Special tokens that the file lacks are set to None: otherwise those of GPT-2 would be appended to the vocabulary,
    # where the model has no embeddings.
    names: dict[str, Any] = dict.fromkeys(SPECIAL.values()) | special
    # annotated as a list of strings, but pairs are what it takes
    tokenizer = GPT2Tokenizer(vocab=vocab, merges=merges, **names)  # type: ignore[arg-type]
    cut = CUTS[pre]
    if (cutter := pre_tokenizer(cut)) is not None:
        tokenizer.backend_tokenizer.pre_tokenizer = cutter
    if cut.composes:
        tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    tokenizer.backend_tokenizer.model.ignore_merges = cut.takes_words
    # the setter does not stand below its property in transformers, so mypy does not see it
    tokenizer.add_bos_token = file.get("tokenizer.ggml.add_bos_token", bool, cut.adds_bos)  # type: ignore[misc]
    return tokenizer


def _sentence_piece(
    file: GgufFile, tokens: list[str], vocab: dict[str, int], special: dict[str, str]
) -> LlamaTokenizer:
    """Returns a SentencePiece BPE tokenizer. The merges are derived from the scores."""
    scores = dict(zip(tokens, file.get("tokenizer.ggml.scores", list), strict=True))
    tokenizer = LlamaTokenizer(vocab=vocab, merges=generate_merges(vocab, scores), **special)
    # the default in transformers drops a leading space; SentencePiece and llama.cpp prepend one
    prefix = [normalizers.Prepend(SPACE)] if file.get("tokenizer.ggml.add_space_prefix", bool, True) else []
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence([*prefix, normalizers.Replace(" ", SPACE)])
    tokenizer.backend_tokenizer.pre_tokenizer = None
    tokenizer.add_bos_token = file.get("tokenizer.ggml.add_bos_token", bool, True)  # type: ignore[misc]  # as above
    return tokenizer


def from_gguf(file: GgufFile) -> PreTrainedTokenizerBase:
    """Rebuilds the tokenizer of a GGUF file: byte-level BPE ("gpt2") or SentencePiece BPE ("llama").

    Raises:
      UserError: a metadata field is missing or wrong, or the fields do not form a tokenizer.
    """
    kind, tokens = file.get("tokenizer.ggml.model", str), file.texts("tokenizer.ggml.tokens")
    if kind not in ("gpt2", "llama"):
        raise UserError(f"{file.path}: tokenizer model {kind!r} is not supported; supported: 'gpt2', 'llama'")
    vocab = {token: i for i, token in enumerate(tokens)}
    special = _special_tokens(file, tokens)
    with _readable(file.path):
        is_bytes = kind == "gpt2"
        tokenizer = _byte_level(file, vocab, special) if is_bytes else _sentence_piece(file, tokens, vocab, special)
        return _fast_tokenizer(file, tokenizer, tokens, special)


def _fast_tokenizer(
    file: GgufFile, tokenizer: GPT2Tokenizer | LlamaTokenizer, tokens: list[str], special: dict[str, str]
) -> PreTrainedTokenizerBase:
    """Returns the tokenizer with its unsplittable tokens and its chat template."""
    types = file.get("tokenizer.ggml.token_type", list, [])
    unsplit = [(t, k == CONTROL) for t, k in zip(tokens, types, strict=False) if k in (CONTROL, USER_DEFINED)]
    tokenizer.add_tokens([AddedToken(t, normalized=False, special=s) for t, s in unsplit])
    # A model family's class rebuilds that family's rules when a saved tokenizer is loaded. The generic class keeps
    # the rules set above.
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, **special)
    fast.chat_template = file.get("tokenizer.chat_template", str, "") or None
    return fast


def _check_files(folder: Path) -> None:
    """Raises UserError for links that leave the folder, oversized files, and file paths in the settings."""
    for file in sorted(f for pattern in FILES for f in folder.glob(pattern)):
        if hf.inside(folder, file.name).stat().st_size > strict_json.MAX_JSON_BYTES:
            raise UserError(
                f"{file}: has {file.stat().st_size} bytes; files of a tokenizer may have at most "
                f"{strict_json.MAX_JSON_BYTES}"
            )
    settings = folder / "tokenizer_config.json"
    values = strict_json.read(settings) if settings.exists() else {}
    kind = values.get("tokenizer_class")
    if kind and values.get("auto_map") and not hasattr(transformers, str(kind)):
        raise UserError(
            f"{settings}: tokenizer_class={strict_json.shown(kind)} is code of the folder's own (auto_map), which is "
            f"never run; pass another tokenizer with --config.model.tokenizer=FOLDER"
        )
    for key, value in values.items():
        if key.endswith("_file") and value is not None:
            raise UserError(
                f"{settings}: {key}={strict_json.shown(value)}: points to another file, which is never read; "
                f"remove the entry"
            )


def load(path: Path) -> PreTrainedTokenizerBase:
    """Loads the tokenizer of a folder or of a GGUF file. Code in a model folder is never run.

    Raises:
      UserError: the files are missing, unreadable or refused, or hold only a slow tokenizer.
    """
    if path.suffix == ".gguf":
        return from_gguf(open_gguf(path))
    _check_files(path)
    # A model family's class rebuilds its own rules of cutting beside tokenizer.json; this one does what the file says
    reader = PreTrainedTokenizerFast if (path / WORDS).exists() else AutoTokenizer
    with _readable(path):
        tokenizer = reader.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise UserError(f"{path}: has only a slow tokenizer; save a fast one ({WORDS}) there")
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()  # prompts are cut by us, and what rows say is told from control tokens by us
    backend.no_padding()
    tokenizer.split_special_tokens = backend.encode_special_tokens = False
    return tokenizer
