"""Plans of the families: as many weights as their makers publish, and as many products as these have."""

import importlib.util
import math

import jax
import pytest

from moral_jax.cli import main
from moral_jax.config import Config
from moral_jax.config.model import ModelConfig
from moral_jax.config.train import DataConfig
from moral_jax.models import api
from moral_jax.models.families import from_hf
from moral_jax.plan import cost, memory
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


ENCODER_CONFIG = Config(
    model=ModelConfig(head="score", dtype="bfloat16"),
    data=DataConfig(length=256, questions_per_row=8, batch_size=4, micro_batch_size=2),
)


def test_what_an_encoder_holds():
    """All weights, or adapters and the head; an encoder's pairs of tokens count twice."""
    spec = tiny.encoder_spec(width=64, mlp_width=128)
    found = memory.methods(ENCODER_CONFIG, spec)
    assert [name.split(",")[0] for name in found] == ["full", "full", "lora", "lora", "lora"]
    held = {name: memory.held(config, spec, tiny.mesh(1, 1, 1)) for name, config in found.items()}
    params = api.abstract_params(tiny.model(spec, score_rows=1))
    head = sum(math.prod(x.shape) for name in ("head", "score") for x in jax.tree.leaves(params[name]))
    assert held["full, float32"].trained == sum(math.prod(x.shape) for x in jax.tree.leaves(params))
    sizes = [(64, 64)] * 4 + [(64, 128), (128, 64)]
    assert held["lora, rank 16, nf4"].trained == head + 3 * 16 * sum(map(sum, sizes))
    weights = [held[f"lora, rank 16, {kind}"].weights for kind in ("bfloat16", "int8", "nf4")]
    assert weights == sorted(weights, reverse=True)
    both = [cost.model_flops(s, 1000, 256, frozen=False) for s in (spec, tiny.spec())]
    pairs = [
        flops - cost.matrix_flops(s, 1000, frozen=False) for flops, s in zip(both, (spec, tiny.spec()), strict=True)
    ]
    each = [s.layers * s.heads * s.head_size * 256 * 1000 for s in (spec, tiny.spec())]
    assert [a / b for a, b in zip(pairs, each, strict=True)] == [12, 6]


@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="the TPU compiler is missing: pip install -e '.[plan]'"
)
def test_an_encoder_is_planned(capsys, tmp_path):
    folder = tiny.write_encoder_folder(tmp_path)
    arguments = [
        "plan", "--config=scruples/minilm_dilemmas", f"--config.model.path={folder}", "--topology=v5e:2x2",
        "--config.data.length=128", "--config.task.path=none.jsonl",
    ]  # fmt: skip
    assert main.main(arguments) == 0
    printed = capsys.readouterr().out
    assert printed.rstrip().endswith("fits")
    assert "model FLOPs" in printed
    assert main.main([*arguments, "--sample"]) == 2
    assert "is an encoder, and writes no texts" in capsys.readouterr().err
