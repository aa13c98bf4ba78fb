"""One vocabulary of each kind of tokenizer: real ones where a package has them, and small ones trained here."""

import base64
import functools
import importlib.util
import json
from pathlib import Path

import gguf
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

from moral_jax.tasks import synthetic
from moral_jax.weights import tokenizer
from moral_jax.weights.pre_tokenizers import CUTS, pre_tokenizer
from tests.weights import by_hand

LETTERS = [
    text for c in "ABCDEFGHYN" for text in (f"{c} {c}", f" {c}")
] * 50  # makes " A" a token, as in real vocabularies
RANKS = 6000  # of tekken's 150,000: the first ones are a vocabulary too


def _fast(words: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def _texts() -> list[str]:
    return [action for action, _ in synthetic.read_actions()] + LETTERS


@functools.cache
def byte_level(cut: str) -> PreTrainedTokenizerFast:
    """Trains a byte-level BPE that cuts text by a rule in CUTS."""
    words = Tokenizer(models.BPE(ignore_merges=CUTS[cut].takes_words))
    words.pre_tokenizer = pre_tokenizer(CUTS[cut]) or pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.normalizer = normalizers.NFC() if CUTS[cut].composes else None
    words.decoder = decoders.ByteLevel()
    specials = ["<unk>", "<s>", "</s>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    words.train_from_iterator(
        _texts(),
        trainers.BpeTrainer(vocab_size=500, special_tokens=specials, initial_alphabet=alphabet, show_progress=False),
    )
    return _fast(words)


@functools.cache
def byte_fallback(*, prefix: bool) -> PreTrainedTokenizerFast:
    """Trains a SentencePiece-like BPE in which letters that it lacks are bytes: Llama 2's, or Gemma's (no prefix)."""
    words = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    before = [normalizers.Prepend("▁")] if prefix else []
    words.normalizer = normalizers.Sequence([*before, normalizers.Replace(" ", "▁")])
    words.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    specials = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    texts = [text.replace(" ", "▁") for text in _texts()]
    words.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=700, special_tokens=specials, max_token_length=8, show_progress=False)
    )
    fast = Tokenizer.from_str(words.to_str())
    out = json.loads(fast.to_str())
    out["added_tokens"] = [token for token in out["added_tokens"] if not token["content"].startswith("<0x")]
    return _fast(Tokenizer.from_str(json.dumps(out)))


def tekken_file() -> Path | None:
    found = importlib.util.find_spec("mistral_common")
    return found and Path(found.submodule_search_locations[0]) / "data" / "tekken_240911.json"


def _merge(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """Returns the two tokens that a token is merged from."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        pairs = [(ranks.get(a + b, RANKS), i) for i, (a, b) in enumerate(zip(parts, parts[1:], strict=False))]
        at = min(pair for pair in pairs if pair[0] < ranks[token])[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts[0], parts[1]


def write_tekken(path: Path, specials: int = 10) -> PreTrainedTokenizerBase:
    """Writes the first ranks of tekken as a GGUF file has them, and returns the tokenizer that is read from there."""
    stored = json.loads(tekken_file().read_text())["vocab"][:RANKS]
    ranks = {base64.b64decode(token["token_bytes"]): token["rank"] for token in stored}
    letters = bytes_to_unicode()

    def spelled(token: bytes) -> str:
        return "".join(letters[b] for b in token)

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("tekken")
    writer.add_token_list(
        ["<unk>", "<s>", "</s>", *(f"<SPECIAL_{i}>" for i in range(3, specials)), *map(spelled, ranks)]
    )
    writer.add_token_types([3] * specials + [1] * len(ranks))
    merges = [_merge(token, ranks) for token in ranks if len(token) > 1]
    writer.add_token_merges([f"{spelled(a)} {spelled(b)}" for a, b in merges])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    by_hand.finish(writer)
    return tokenizer.load(path)
