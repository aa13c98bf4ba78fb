"""The names that Hugging Face's files give the parameters of encoders, by family. Data only.

Each name is (path in the parameter dict, name in files without `.weight` and `.bias`); `{}` stands for the layer.
"""

from typing import NamedTuple

Named = tuple[tuple[str, str], ...]


class Names(NamedTuple):
    """Names of a family, as they stand behind its prefix."""

    prefix: str  # of all names in the classes with a head
    tables: Named  # looked up by row; without bias
    norms: Named  # outside the layers
    layer_maps: Named
    layer_norms: Named
    pooler: str  # the map before the head
    pooler_norm: str  # behind it; "" where there is none
    pooler_prefixed: bool  # False where the pooler belongs to the class with a head
    pretraining: tuple[str, ...]  # patterns of the heads that files were pretrained with; a prefix may stand before


_BERT = Names(
    prefix="bert",
    tables=(
        ("embedding", "embeddings.word_embeddings"),
        ("position_embedding", "embeddings.position_embeddings"),
        ("type_embedding", "embeddings.token_type_embeddings"),
    ),
    norms=(("embedding_norm", "embeddings.LayerNorm"),),
    layer_maps=(
        ("attention/query", "encoder.layer.{}.attention.self.query"),
        ("attention/key", "encoder.layer.{}.attention.self.key"),
        ("attention/value", "encoder.layer.{}.attention.self.value"),
        ("attention/out", "encoder.layer.{}.attention.output.dense"),
        ("mlp/up", "encoder.layer.{}.intermediate.dense"),
        ("mlp/down", "encoder.layer.{}.output.dense"),
    ),
    layer_norms=(
        ("attention_norm", "encoder.layer.{}.attention.output.LayerNorm"),
        ("mlp_norm", "encoder.layer.{}.output.LayerNorm"),
    ),
    pooler="pooler.dense",
    pooler_norm="",
    pooler_prefixed=True,
    pretraining=(
        r"embeddings\.(position_ids|token_type_ids)",  # see hf.INDICES
        r"pooler\.dense\.(weight|bias)",  # read with the score head
        r"cls\.predictions\.(bias|transform\.dense\.(weight|bias)|transform\.LayerNorm\.(weight|bias|gamma|beta))",
        r"cls\.predictions\.decoder\.(weight|bias)",
        r"cls\.seq_relationship\.(weight|bias)",
        r"lm_head\.(bias|(dense|layer_norm|decoder)\.(weight|bias))",
    ),
)
_MODERNBERT = Names(
    prefix="model",
    tables=(("embedding", "embeddings.tok_embeddings"),),
    norms=(("embedding_norm", "embeddings.norm"), ("final_norm", "final_norm")),
    layer_maps=(
        ("attention/qkv", "layers.{}.attn.Wqkv"),
        ("attention/out", "layers.{}.attn.Wo"),
        ("mlp/gate_up", "layers.{}.mlp.Wi"),
        ("mlp/down", "layers.{}.mlp.Wo"),
    ),
    layer_norms=(("attention_norm", "layers.{}.attn_norm"), ("mlp_norm", "layers.{}.mlp_norm")),
    pooler="head.dense",
    pooler_norm="head.norm",
    pooler_prefixed=False,
    pretraining=(r"head\.(dense|norm)\.(weight|bias)", r"decoder\.(weight|bias)"),
)
_DEBERTA = _BERT._replace(
    prefix="deberta",
    tables=(("embedding", "embeddings.word_embeddings"), ("relative_embedding", "encoder.rel_embeddings")),
    norms=(("embedding_norm", "embeddings.LayerNorm"), ("relative_norm", "encoder.LayerNorm")),
    layer_maps=(
        ("attention/query", "encoder.layer.{}.attention.self.query_proj"),
        ("attention/key", "encoder.layer.{}.attention.self.key_proj"),
        ("attention/value", "encoder.layer.{}.attention.self.value_proj"),
        *_BERT.layer_maps[3:],
    ),
    pooler_prefixed=False,
    pretraining=(
        *_BERT.pretraining,
        r"embeddings\.position_embeddings\.weight",  # of its generator
        r"lm_predictions\.lm_head\.(bias|(dense|LayerNorm)\.(weight|bias))",
        r"mask_predictions\.(dense|LayerNorm|classifier)\.(weight|bias)",
    ),
)
NAMES = {
    "bert": _BERT,
    "roberta": _BERT._replace(prefix="roberta"),
    "modernbert": _MODERNBERT,
    "deberta-v2": _DEBERTA,
}
