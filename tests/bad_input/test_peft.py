"""Tests adapters in the files of PEFT."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from moral_jax.weights import peft
from tests.bad_input import models
from tests.bad_input.refusal import Case, each
from tests.weights import by_hand

CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 8.0, "target_modules": ["q_proj"], "bias": "none"}
FLAGS = ("--config.adapter.kind=lora", "--config.adapter.rank=4", "--config.adapter.alpha=8",
         "--config.adapter.targets=q_proj")  # fmt: skip
A = "base_model.model.model.layers.{}.self_attn.q_proj.lora_A.weight"
B = "base_model.model.model.layers.{}.self_attn.q_proj.lora_B.weight"
TENSORS = {A.format(i): np.zeros((4, 32), np.float32) for i in range(3)} | {
    B.format(i): np.zeros((48, 4), np.float32) for i in range(3)
}


def said(**changes):
    return json.dumps(CONFIG | changes).encode()


CONFIGS = (
    Case("none", None, "adapter_config.json", "no such file"),
    Case("empty", b"", "adapter_config.json", "not valid JSON"),
    Case("a list", b"[]", "adapter_config.json", "expected a JSON object"),
    Case("a key twice", b'{"r": 4, "r": 8}', "the key 'r'", "appears twice"),
    Case("another kind", said(peft_type="LOHA"), "peft_type='LOHA'", "expected 'LORA'"),
    Case("a kind that is a list", said(peft_type=["LORA"]), "peft_type=['LORA']", "expected 'LORA'"),
    Case("another rank", said(r=8), "config.adapter.rank=4", "set --config.adapter.rank=8"),
    Case("a rank in words", said(r="four"), "says 'four'", "set --config.adapter.rank=four"),
    Case("a rank that is none", said(r=float("nan")), "says nan", "set --config.adapter.rank"),
    Case("a rank of 10,000 letters", said(r="r" * 10_000), "says 'rrr", "set --config.adapter.rank=rrr"),
    Case("another alpha", said(lora_alpha=16), "config.adapter.alpha=8.0", "set --config.adapter.alpha=16"),
    Case("DoRA", said(use_dora=True), "config.adapter.kind='lora'", "set --config.adapter.kind=dora"),
    Case("biases", said(bias="all"), "bias='all'", "only adapters without it"),
    Case("a field of tomorrow", said(of_tomorrow={"a": 1}), "of_tomorrow={'a': 1}", "only adapters without it"),
    Case("ranks by name", said(rank_pattern={"q_proj": 8}), "rank_pattern=", "only adapters without it"),
)
SMALL = {A.format(0): ("F32", (4, 32))}
FILES = (
    Case("none", None, "adapter_model.safetensors", "no such file"),
    Case("empty", b"", "adapter_model.safetensors", "a header of 0 bytes"),
    Case(
        "a tensor missing",
        {k: v for k, v in TENSORS.items() if "layers.2" not in k},
        "is missing",
        "config.adapter.targets",
    ),
    Case(
        "a tensor too many",
        TENSORS | {"x": np.zeros(1, np.float32)},
        "tensor 'x' has no place",
        "config.adapter.targets",
    ),
    Case(
        "a tensor turned",
        TENSORS | {A.format(0): np.zeros((32, 4), np.float32)},
        "has shape (32, 4)",
        "expected (4, 32)",
    ),
    Case(
        "a tensor of another rank",
        TENSORS | {A.format(1): np.zeros((8, 32), np.float32)},
        "shape (8, 32)",
        "expected (4, 32)",
    ),
    Case("whole numbers", TENSORS | {A.format(0): np.zeros((4, 32), np.int64)}, "is of type 'I64'", "are read"),
)
CASES = tuple(case._replace(given=(peft.CONFIG, case.given)) for case in CONFIGS) + tuple(
    case._replace(given=(peft.TENSORS, case.given)) for case in FILES
)


@pytest.fixture
def adapter(tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / peft.CONFIG).write_bytes(said())
    save_file(TENSORS, folder / peft.TENSORS)
    return folder


def put(file, given):
    file.unlink()
    if isinstance(given, bytes):
        file.write_bytes(given)
    elif given is not None:
        save_file(given, file)


@pytest.mark.fault("PEFT files that are damaged or contradict the config", promise="one message, exit code 2")
@each(CASES)
def test_adapters(case, refused, adapter, tiny_folder):
    name, given = case.given
    put(adapter / name, given)
    models.ask(refused, case, tiny_folder, *FLAGS, f"--config.adapter.path={adapter}")


def test_links_that_leave_the_folder(refused, adapter, tiny_folder, tmp_path):
    for name in (peft.TENSORS, peft.CONFIG):
        (adapter / name).rename(tmp_path / f"elsewhere-{name}")
        (adapter / name).symlink_to(tmp_path / f"elsewhere-{name}")
        case = Case("", None, f"{name}: is a link to", "put the file itself there")
        models.ask(refused, case, tiny_folder, *FLAGS, f"--config.adapter.path={adapter}")


def test_headers_are_those_of_weights(adapter, refused, tiny_folder):
    by_hand.write(adapter / peft.TENSORS, by_hand.header(SMALL), 512, 1 << 60)
    case = Case("", None, "adapter_model.safetensors", "a header of 1152921504606846976 bytes")
    models.ask(refused, case, tiny_folder, *FLAGS, f"--config.adapter.path={adapter}")
