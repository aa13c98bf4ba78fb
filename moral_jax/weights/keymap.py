"""Where every decoder tensor lives in each file format."""

from typing import NamedTuple

from moral_jax.models.spec import DecoderSpec


class Entry(NamedTuple):
    """One parameter of ours and its name in Hugging Face and GGUF files; `{}` stands for the layer."""

    path: str  # "/"-separated path in the parameter dict; of a layer's parameters, within its group
    hf: str
    gguf: str
    transpose: bool  # files keep linear maps as [out, in], we as [in, out]
    rope_heads: str = ""  # "heads" or "kv_heads": GGUF interleaves the rotary pairs of these rows
    layers: range | None = None  # which layers' tensors it is made of
    stacked: bool = False  # on a leading axis

    @property
    def projection(self) -> str:
        """What Hugging Face calls the map or norm of a layer: q_proj, ..."""
        return self.hf.split(".")[-2]


LAYER = (
    Entry("attention_norm/scale", "model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", False),
    Entry("attention/query/kernel", "model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", True, "heads"),
    Entry("attention/key/kernel", "model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight", True, "kv_heads"),
    Entry("attention/value/kernel", "model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight", True),
    Entry("attention/out/kernel", "model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight", True),
    Entry("mlp_norm/scale", "model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight", False),
    Entry("mlp/gate/kernel", "model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight", True),
    Entry("mlp/up/kernel", "model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight", True),
    Entry("mlp/down/kernel", "model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight", True),
)
EMBEDDING = Entry("embedding", "model.embed_tokens.weight", "token_embd.weight", False)
FINAL_NORM = Entry("final_norm/scale", "model.norm.weight", "output_norm.weight", False)
UNEMBEDDING = Entry("unembedding", "lm_head.weight", "output.weight", False)


def entries(spec: DecoderSpec) -> tuple[Entry, ...]:
    """All parameters of a decoder."""
    of_layers = (
        entry._replace(path=f"{group.name}/{entry.path}", layers=group.layers, stacked=group.stacked)
        for group in spec.layer_groups
        for entry in LAYER
    )
    return (EMBEDDING, *of_layers, FINAL_NORM, *(() if spec.tied_embeddings else (UNEMBEDDING,)))


# Tensors that files may carry beside the parameters, and that a loader may leave: derived tables, or the tied copy.
HF_DERIVED = (r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",)
HF_TIED = ("lm_head.weight",)
