"""What configs say about layers: windows, rotations, and how long a text may be."""

import pytest

from moral_jax.models.families import from_hf
from moral_jax.models.rope import LinearScaling, Llama3Scaling, LongScaling, Rope, YarnScaling
from moral_jax.types import UserError
from moral_jax.weights.published import CONFIGS

QWEN, GEMMA = CONFIGS["Qwen/Qwen2.5-7B-Instruct"], CONFIGS["google/gemma-3-1b-it"]
PHI3 = CONFIGS["microsoft/Phi-3-mini-4k-instruct"]


def test_five_near_layers_and_a_far_one():
    kinds = from_hf(GEMMA).kinds
    assert [kind.window for kind in kinds] == ([512] * 5 + [None]) * 4 + [512] * 2
    assert {kind.rope.theta for kind in kinds if kind.window} == {1e4}
    assert {kind.rope.theta for kind in kinds if not kind.window} == {1e6}


def test_older_and_newer_names_say_the_same():
    """gemma-3-4b stretches its far layers alone."""
    scaling = {"rope_type": "linear", "factor": 8.0}
    older = GEMMA | {"rope_scaling": scaling}
    newer = {
        k: v for k, v in GEMMA.items() if k not in ("rope_theta", "rope_local_base_freq", "sliding_window_pattern")
    }
    newer |= {
        "rope_parameters": {
            "full_attention": scaling | {"rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
        "layer_types": ["sliding_attention" if (i + 1) % 6 else "full_attention" for i in range(26)],
    }
    assert from_hf(older) == from_hf(newer)
    assert from_hf(older).kinds[5].rope == Rope(1e6, 256, LinearScaling(8.0))
    assert from_hf(older).kinds[0].rope.scaling is None


def test_every_second_layer_of_gemma_2_and_every_fourth_of_smollm3():
    assert [kind.window for kind in from_hf(CONFIGS["google/gemma-2-9b-it"]).kinds[:4]] == [4096, None, 4096, None]
    assert [kind.rope is None for kind in from_hf(CONFIGS["HuggingFaceTB/SmolLM3-3B"]).kinds] == [0, 0, 0, 1] * 9


def test_windows_of_qwen_are_off_unless_switched_on():
    assert {kind.window for kind in from_hf(QWEN).kinds} == {None}
    on = from_hf(QWEN | {"use_sliding_window": True, "max_window_layers": 21}).kinds
    assert [kind.window for kind in on] == [None] * 21 + [131072] * 7


def test_a_part_of_each_head_rotates():
    assert from_hf(CONFIGS["microsoft/phi-2"]).kinds[0].rope.size == 32  # 0.4 of 80


def test_caps_that_a_config_leaves_out_or_switches_off():
    gemma2 = CONFIGS["google/gemma-2-9b-it"]
    absent = {k: v for k, v in gemma2.items() if not k.endswith("softcapping")}
    assert (from_hf(absent).score_softcap, from_hf(absent).logit_softcap) == (50.0, 30.0)
    off = from_hf(gemma2 | {"attn_logit_softcapping": None, "final_logit_softcapping": None})
    assert (off.score_softcap, off.logit_softcap) == (None, None)
    assert from_hf(GEMMA).logit_softcap is None


def test_scalings():
    yarn = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    found = from_hf(QWEN | {"rope_scaling": yarn}).kinds[0].rope.scaling
    assert found == YarnScaling(4.0, 32768, 32.0, 1.0, truncate=True, magnitude=pytest.approx(1.1386294361))
    assert from_hf(CONFIGS["meta-llama/Llama-3.2-1B-Instruct"]).kinds[0].rope.scaling == Llama3Scaling(32, 1, 4, 8192)
    dynamic = from_hf(QWEN | {"rope_scaling": {"type": "dynamic", "factor": 2.0}})
    assert dynamic == from_hf(QWEN)  # up to the model's positions, which no text exceeds


@pytest.mark.parametrize("name", ["longrope", "su"])
def test_longrope_ends_at_the_original_context(name):
    """Phi-3-mini-128k: sqrt(1 + ln 32 / ln 4096) = 1.190238; its first files call it su."""
    factors = {"short_factor": [1.0] * 48, "long_factor": [2.0] * 48}
    long = PHI3 | {"max_position_embeddings": 131072, "rope_scaling": factors | {"type": name}}
    spec = from_hf(long)
    assert spec.max_positions == 4096
    assert spec.kinds[0].rope.scaling == LongScaling((1.0,) * 48, pytest.approx(1.1902380714))


def test_a_scaling_without_its_factor_is_refused():
    with pytest.raises(UserError, match="rope_scaling: the field 'factor' is missing"):
        from_hf(QWEN | {"rope_scaling": {"type": "yarn"}})
