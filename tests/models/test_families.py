"""Layers that differ where a config does not list them, as those of its authors do not: what transformers derives."""

import pytest
from transformers import AutoConfig

from moral_jax.models.families import from_hf

LISTS = ("layer_types", "no_rope_layers")


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("gemma2", {}),
        ("gemma3_text", {}),
        ("gemma3_text", {"sliding_window_pattern": 3}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 3}),
        ("smollm3", {}),
        ("smollm3", {"no_rope_layer_interval": 3}),
    ],
)
def test_layers_that_a_config_does_not_list(family, settings):
    listed = AutoConfig.for_model(family, num_hidden_layers=9, **settings).to_dict()
    spec = from_hf({name: x for name, x in (listed | settings).items() if name not in LISTS})
    local = [kind == "sliding_attention" for kind in listed["layer_types"]]
    assert [kind.window is not None for kind in spec.kinds] == local
    rotated = [bool(x) for x in listed.get("no_rope_layers") or [True] * 9]
    assert [kind.rope is not None for kind in spec.kinds] == rotated
    assert len(set(local)) > 1 or len(set(rotated)) > 1
