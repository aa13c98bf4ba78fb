"""The name of every parameter in each file format."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from moral_jax.models.encoder_names import NAMES
from moral_jax.models.spec import FIRST, DecoderSpec, EncoderSpec, LayerGroup, Spec, layer_groups


class Entry(NamedTuple):
    """One parameter of ours and its name in Hugging Face and GGUF files; `{}` stands for the layer.

    There are no GGUF files of encoders.
    """

    path: str  # "/"-separated path in the parameter dict; in the tables below, a layer's path within its group
    hf: str
    gguf: str
    transpose: bool  # files store linear maps as [out, in], we as [in, out]
    rope_heads: str = ""  # "heads" or "kv_heads": GGUF interleaves the rotary pairs of these rows
    offset: bool = False  # GGUF stores one more than the number
    layers: range | None = None  # the layers whose tensors it is made of
    stacked: bool = False  # these lie on a leading axis

    @property
    def projection(self) -> str:
        """Hugging Face's name of a layer's map or norm: q_proj, ..."""
        return self.hf.split(".")[-2]


# The norms of a layer by DecoderSpec.norms: a name says what a file's makers thought first, not what it does
NORMS = {
    "before": (
        ("attention_norm", "input_layernorm", "attn_norm"),
        ("mlp_norm", "post_attention_layernorm", "ffn_norm"),
    ),
    "after": (
        ("attention_out_norm", "post_attention_layernorm", "post_attention_norm"),
        ("mlp_out_norm", "post_feedforward_layernorm", "post_ffw_norm"),
    ),
    "both": (
        ("attention_norm", "input_layernorm", "attn_norm"),
        ("attention_out_norm", "post_attention_layernorm", "post_attention_norm"),
        ("mlp_norm", "pre_feedforward_layernorm", "ffn_norm"),
        ("mlp_out_norm", "post_feedforward_layernorm", "post_ffw_norm"),
    ),
    "parallel": (("attention_norm", "input_layernorm", "attn_norm"),),
}
HEAD_NORMS = (
    ("attention/query_norm", "self_attn.q_norm", "attn_q_norm"),
    ("attention/key_norm", "self_attn.k_norm", "attn_k_norm"),
)
SEPARATE = (
    ("attention/query", "self_attn.q_proj", "attn_q"),
    ("attention/key", "self_attn.k_proj", "attn_k"),
    ("attention/value", "self_attn.v_proj", "attn_v"),
)
FUSED = (("attention/qkv", "self_attn.qkv_proj", "attn_qkv"),)
OUT = {"phi": "self_attn.dense"}  # by family, where it is not o_proj
MLPS = {  # by (gated, fused)
    (True, False): (
        ("mlp/gate", "mlp.gate_proj", "ffn_gate"),
        ("mlp/up", "mlp.up_proj", "ffn_up"),
        ("mlp/down", "mlp.down_proj", "ffn_down"),
    ),
    (True, True): (("mlp/gate_up", "mlp.gate_up_proj", "ffn_up"), ("mlp/down", "mlp.down_proj", "ffn_down")),
    (False, False): (("mlp/up", "mlp.fc1", "ffn_up"), ("mlp/down", "mlp.fc2", "ffn_down")),
}
ROPE_HEADS = {"attention/query": "heads", "attention/key": "kv_heads"}
INTERLEAVED = ("llama", "mistral", "smollm3")  # families whose GGUF files interleave rotary pairs
FINAL_NORM = {"phi": "model.final_layernorm"}  # by family, where it is not model.norm
EMBEDDING = Entry("embedding", "model.embed_tokens.weight", "token_embd.weight", False)
UNEMBEDDING = Entry("unembedding", "lm_head.weight", "output.weight", False)
UNEMBEDDING_BIAS = Entry("unembedding_bias", "lm_head.bias", "output.bias", False)


def _decoder_norm(spec: DecoderSpec, path: str, hf: str, gguf: str) -> list[Entry]:
    """Returns the scale of a normalisation, and its bias if it has one."""
    scale = Entry(f"{path}/scale", f"{hf}.weight", f"{gguf}.weight", False, offset=spec.norm == "rms_plus_one")
    return [scale] + [Entry(f"{path}/bias", f"{hf}.bias", f"{gguf}.bias", False)] * (spec.norm == "layer")


def _decoder_map(spec: DecoderSpec, biased: bool, path: str, hf: str, gguf: str) -> list[Entry]:
    """Returns the kernel of a linear map, and its bias if it has one."""
    heads = ROPE_HEADS.get(path, "") if spec.family in INTERLEAVED else ""
    kernel = Entry(f"{path}/kernel", f"{hf}.weight", f"{gguf}.weight", True, heads)
    return [kernel] + [Entry(f"{path}/bias", f"{hf}.bias", f"{gguf}.bias", False, heads)] * biased


def _decoder_layer(spec: DecoderSpec) -> tuple[Entry, ...]:
    """Returns the parameters of a layer of a decoder."""
    hf, gguf = "model.layers.{}.", "blk.{}."
    norms = NORMS[spec.norms] + (HEAD_NORMS if spec.head_norm != "none" else ())
    out = ("attention/out", OUT.get(spec.family, "self_attn.o_proj"), "attn_output")
    maps = [(spec.qkv_bias, name) for name in (FUSED if spec.fused else SEPARATE)]
    maps += [(spec.out_bias, out)]
    maps += [(spec.mlp_bias, name) for name in MLPS[spec.gated, spec.fused]]
    entries = [e for path, h, g in norms for e in _decoder_norm(spec, path, hf + h, gguf + g)]
    entries += [e for biased, (path, h, g) in maps for e in _decoder_map(spec, biased, path, hf + h, gguf + g)]
    return tuple(entries)


def _map(path: str, hf: str, biased: bool) -> list[Entry]:
    """Returns the kernel of an encoder's linear map, and its bias if it has one."""
    return [Entry(f"{path}/kernel", f"{hf}.weight", "", True)] + [
        Entry(f"{path}/bias", f"{hf}.bias", "", False)
    ] * biased


def _norm(spec: EncoderSpec, path: str, hf: str) -> list[Entry]:
    """Returns the scale of an encoder's layer normalisation, and its bias if it has one."""
    biased = spec.norm == "layer"
    return [Entry(f"{path}/scale", f"{hf}.weight", "", False)] + [
        Entry(f"{path}/bias", f"{hf}.bias", "", False)
    ] * biased


def _encoder_layer(spec: EncoderSpec, group: LayerGroup) -> tuple[Entry, ...]:
    """Returns the parameters of a layer of an encoder."""
    names = NAMES[spec.family]
    biased = {"attention": spec.qkv_bias, "mlp": spec.mlp_bias}
    maps = [entry for path, hf in names.layer_maps for entry in _map(path, hf, biased[path.split("/")[0]])]
    norms = [(path, hf) for path, hf in names.layer_norms if group.name != FIRST or path != "attention_norm"]
    return (*maps, *(entry for path, hf in norms for entry in _norm(spec, path, hf)))


def _encoder(spec: EncoderSpec, groups: tuple[LayerGroup, ...]) -> tuple[Entry, ...]:
    """Returns the parameters of an encoder."""
    names = NAMES[spec.family]
    tables = [Entry(path, f"{hf}.weight", "", False) for path, hf in names.tables]
    norms = [entry for path, hf in names.norms for entry in _norm(spec, path, hf)]
    layers = [entry for group in groups for entry in _of_layers(_encoder_layer(spec, group), (group,))]
    return (*tables, *norms, *layers)


def pooler(spec: EncoderSpec, prefix: str = "") -> tuple[Entry, ...]:
    """Returns the parameters of the map before an encoder's head, below "pooler/"; files may lack it."""
    names = NAMES[spec.family]
    norm = _norm(spec, "pooler/norm", f"{prefix}{names.pooler_norm}") if names.pooler_norm else []
    return (*_map("pooler", f"{prefix}{names.pooler}", spec.pooler_bias), *norm)


def _of_layers(layer: tuple[Entry, ...], groups: tuple[LayerGroup, ...]) -> tuple[Entry, ...]:
    """Returns the entries of a layer once for each group."""
    return tuple(
        entry._replace(path=f"{group.name}/{entry.path}", layers=group.layers, stacked=group.stacked)
        for group in groups
        for entry in layer
    )


def entries(spec: Spec, frozen_layers: int = 0) -> tuple[Entry, ...]:
    """Returns all parameters of a backbone; the lowest `frozen_layers` layers form a separate group."""
    groups = layer_groups(spec.layers, frozen_layers, spec.first_apart)
    if isinstance(spec, EncoderSpec):
        return _encoder(spec, groups)
    layers = _of_layers(_decoder_layer(spec), groups)
    final = _decoder_norm(spec, "final_norm", FINAL_NORM.get(spec.family, "model.norm"), "output_norm")
    head = [UNEMBEDDING] * (not spec.tied_embeddings) + [UNEMBEDDING_BIAS] * spec.unembedding_bias
    return (EMBEDDING, *layers, *final, *head)


SCORE = Entry("score/rows", "classifier.weight", "", False), Entry("score/bias", "classifier.bias", "", False)


def exported(spec: Spec, score_rows: int, frozen_layers: int = 0) -> tuple[Entry, ...]:
    """Returns all parameters of a backbone and its score head (below "score/"), named as in a transformers class.

    For a decoder this is the class for causal language models, or with a score head that for sequence classification.
    For an encoder it is the class for multiple choice (one row), or for sequence classification.
    """
    backbone = entries(spec, frozen_layers)
    if isinstance(spec, DecoderSpec):
        rows = Entry("score/rows", "score.weight", "", False)
        return (*(e for e in backbone if e not in (UNEMBEDDING, UNEMBEDDING_BIAS)), rows) if score_rows else backbone
    prefix = f"{NAMES[spec.family].prefix}."
    head: tuple[Entry, ...]
    if spec.family == "roberta" and score_rows > 1:
        head = (
            *_map("score/pooler", "classifier.dense", biased=True),
            *(entry._replace(hf=entry.hf.replace("classifier", "classifier.out_proj")) for entry in SCORE),
        )
    else:
        before = pooler(spec, prefix if NAMES[spec.family].pooler_prefixed else "")
        head = (*(entry._replace(path=f"score/{entry.path}") for entry in before), *SCORE)
    return tuple(entry._replace(hf=f"{prefix}{entry.hf}") for entry in backbone) + head


def match_names(entries: Iterable[Entry], spec: Spec, names: set[str]) -> tuple[Entry, ...]:
    """Returns the entries under the names that a folder uses for them.

    An encoder's names may be prefixed with its family. Files that were converted from the first TensorFlow checkpoints
    call a norm's scale gamma and its bias beta.
    """
    if isinstance(spec, DecoderSpec):
        return tuple(entries)
    of_family = f"{NAMES[spec.family].prefix}."
    prefix = of_family if any(name.startswith(of_family) for name in names) else ""
    is_old = f"{prefix}embeddings.LayerNorm.gamma" in names

    def rename(name: str) -> str:
        if is_old:
            name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        return prefix + name

    return tuple(entry._replace(hf=rename(entry.hf)) for entry in entries)


# Tensors beside the parameters that a loader may ignore: derived tables, the tied copy of the embedding, and the heads
# that encoders were pretrained with. A head that was trained for another task is not among them.
HF_DERIVED = (r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",)
HF_TIED = ("lm_head.weight",)


def may_ignore(name: str, spec: Spec) -> bool:
    """Returns True if a tensor of a folder may be ignored."""
    if isinstance(spec, EncoderSpec):
        names = NAMES[spec.family]
        return any(re.fullmatch(rf"({names.prefix}\.)?{pattern}", name) for pattern in names.pretraining)
    return any(re.fullmatch(pattern, name) for pattern in HF_DERIVED) or (spec.tied_embeddings and name in HF_TIED)
