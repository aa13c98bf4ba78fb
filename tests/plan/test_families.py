"""Plans of the families: as many weights as their makers publish, and as many products as these have."""

import math

import jax
import pytest

from moral_jax.models import api
from moral_jax.models.families import from_hf
from moral_jax.plan import cost
from moral_jax.weights.load import flat
from moral_jax.weights.published import CONFIGS
from tests.helpers import tiny

PARAMETERS = {
    "HuggingFaceTB/SmolLM3-3B": 3_075_098_624,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "allenai/OLMo-2-1124-7B-Instruct": 7_298_617_344,
    "google/gemma-2-9b-it": 9_241_705_984,
    "google/gemma-3-1b-it": 999_885_952,
    "meta-llama/Llama-3.1-8B-Instruct": 8_030_261_248,
    "meta-llama/Llama-3.2-1B-Instruct": 1_235_814_400,
    "microsoft/Phi-3-mini-4k-instruct": 3_821_079_552,
    "microsoft/phi-2": 2_779_683_840,
    "mistralai/Mistral-7B-Instruct-v0.3": 7_248_023_552,
    "mistralai/Mistral-Nemo-Instruct-2407": 12_247_782_400,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_weights_and_products(name):
    spec = from_hf(CONFIGS[name])
    leaves = flat(api.abstract_params(tiny.model(spec))["decoder"])
    assert sum(math.prod(x.shape) for x in jax.tree.leaves(leaves)) == PARAMETERS[name]
    kernels = sum(math.prod(x.shape) for path, x in leaves.items() if path.endswith("kernel"))
    assert cost.layer_weights(spec) == kernels
