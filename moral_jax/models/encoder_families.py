"""Families of encoders: what each takes from its `config.json`."""

from moral_jax.models.config_json import Fields, check_multiple, check_neutral, layers
from moral_jax.models.spec import EncoderSpec


def bert(hf: Fields) -> EncoderSpec:
    neutral = {"hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False}
    check_neutral(hf, neutral | {"add_cross_attention": False})
    family = hf.get("model_type")
    first_position = hf.whole("pad_token_id", least=0) + 1 if family == "roberta" else 0
    spec = EncoderSpec(
        family=family,
        vocab=hf.whole("vocab_size"),
        layers=layers(hf),
        width=hf.whole("hidden_size"),
        heads=hf.whole("num_attention_heads"),
        mlp_width=hf.whole("intermediate_size"),
        norm_eps=hf.positive("layer_norm_eps"),
        token_types=hf.whole("type_vocab_size"),
        first_position=first_position,
        max_positions=hf.whole("max_position_embeddings", least=first_position + 1) - first_position,
    )
    check_multiple(hf.where, "hidden_size", spec.width, "num_attention_heads", spec.heads)
    return spec
