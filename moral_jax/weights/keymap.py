"""Where every decoder tensor lives in each file format. Data only."""

from typing import NamedTuple


class Entry(NamedTuple):
    """One parameter of ours and its name in Hugging Face and GGUF files; `{}` stands for the layer."""

    path: str  # "/"-separated path in the parameter dict; a name with "{}" is stacked over layers there
    hf: str
    gguf: str
    transpose: bool  # files keep linear maps as [out, in], we as [in, out]
    rope_heads: str = ""  # "heads" or "kv_heads": GGUF interleaves the rotary pairs of these rows

    @property
    def stacked(self) -> bool:
        return "{}" in self.hf


DECODER = (
    Entry("embedding", "model.embed_tokens.weight", "token_embd.weight", False),
    Entry("layers/attention_norm/scale", "model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", False),
    Entry(
        "layers/attention/query/kernel",
        "model.layers.{}.self_attn.q_proj.weight",
        "blk.{}.attn_q.weight",
        True,
        rope_heads="heads",
    ),
    Entry(
        "layers/attention/key/kernel",
        "model.layers.{}.self_attn.k_proj.weight",
        "blk.{}.attn_k.weight",
        True,
        rope_heads="kv_heads",
    ),
    Entry("layers/attention/value/kernel", "model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight", True),
    Entry("layers/attention/out/kernel", "model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight", True),
    Entry("layers/mlp_norm/scale", "model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight", False),
    Entry("layers/mlp/gate/kernel", "model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight", True),
    Entry("layers/mlp/up/kernel", "model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight", True),
    Entry("layers/mlp/down/kernel", "model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight", True),
    Entry("final_norm/scale", "model.norm.weight", "output_norm.weight", False),
)
UNEMBEDDING = Entry("unembedding", "lm_head.weight", "output.weight", False)


def entries(tied_embeddings: bool) -> tuple[Entry, ...]:
    """All parameters of a decoder."""
    return DECODER if tied_embeddings else (*DECODER, UNEMBEDDING)


# Tensors that files may carry beside the parameters, and that a loader may leave: derived tables, or the tied copy.
HF_DERIVED = (r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",)
HF_TIED = ("lm_head.weight",)
