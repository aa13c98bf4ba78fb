"""From a config to the things it names: tokenizer, policy, weights, encoded questions."""

import dataclasses
import hashlib
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from transformers import PreTrainedTokenizerBase

import moral_jax
from moral_jax.config import Config
from moral_jax.data import pipeline, render, tokenizer
from moral_jax.models import api
from moral_jax.tasks import registry
from moral_jax.types import Example, Params
from moral_jax.weights import load, source

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "transformers", "tokenizers")


@dataclasses.dataclass(frozen=True)
class Model:
    """A model that is found but not yet loaded."""

    path: Path
    tokenizer: PreTrainedTokenizerBase
    policy: api.Policy


def find_model(config: Config) -> Model:
    """Resolves the model's files and reads what it is, without its weights."""
    path = source.resolve(config.model.path)
    spec = load.read_spec(path)
    on_cpu = jax.default_backend() == "cpu"
    policy = api.Policy(
        spec=spec,
        concentration=config.objective.concentration,
        concentration_value=config.objective.concentration_value,
        dtype=config.model.dtype,
        remat=config.model.remat,
        unroll=config.model.unroll or (spec.layers if on_cpu else 1),
    )
    words = source.resolve(config.model.tokenizer) if config.model.tokenizer else path
    return Model(path, tokenizer.load(words), policy)


def load_params(model: Model) -> Params:
    """Weights from disk, with a fresh concentration head."""
    return api.with_head(load.load(model.path, model.policy.spec), model.policy)


class Prompter:
    """Encodes examples the way a config asks for."""

    def __init__(self, config: Config, model: Model):
        study_prompt = registry.get(config.task.name).study_prompt
        has_chat = model.tokenizer.chat_template is not None

        def chat(messages: list[dict[str, str]]) -> str:
            return model.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

        self.config, self.tokenizer = config, model.tokenizer
        self.render = render.make_renderer(config.prompt, study_prompt, chat if has_chat else None)
        self.orders = (config.prompt.orders, render.options_move(config.prompt, study_prompt))
        self.limit = min(config.data.length, model.policy.spec.max_positions)

    def _encode(self, examples: Sequence[Example], items: list[pipeline.Item], what: str) -> pipeline.Questions:
        return pipeline.encode_items(examples, items, self.tokenizer, self.render, self.limit, what)

    def for_scoring(self, examples: Sequence[Example], what: str) -> pipeline.Questions:
        """Every example in every order."""
        return self._encode(examples, pipeline.all_items(examples, *self.orders), what)

    def for_training(
        self, examples: Sequence[Example], epochs: int
    ) -> tuple[pipeline.Questions, list[list[tuple[pipeline.Item, ...]]]]:
        """What each epoch shows, and all of it encoded."""
        at_once = self.config.train.orders
        shown = [pipeline.epoch_items(examples, epoch, *self.orders, at_once) for epoch in range(epochs)]
        return self._encode(examples, [item for units in shown for unit in units for item in unit], "train"), shown


def weight_hashes(path: Path) -> dict[str, str]:
    """SHA-256 of every weight file."""
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    hashes = {}
    for file in files:
        with file.open("rb") as f:
            hashes[file.name] = hashlib.file_digest(f, "sha256").hexdigest()
    return hashes


def provenance(config: Config, model: Model, data: dict[str, Any]) -> dict[str, Any]:
    """Where the numbers of a run come from: data, weights, versions, device."""
    return {
        "data": data,
        "model": {"path": config.model.path, "family": model.policy.spec.family, "sha256": weight_hashes(model.path)},
        "versions": {"moral_jax": moral_jax.__version__, "python": platform.python_version()}
        | {name: metadata.version(name) for name in LIBRARIES},
        "device": {
            "backend": jax.default_backend(),
            "kind": jax.devices()[0].device_kind,
            "count": jax.device_count(),
            "machine": platform.machine(),
        },
    }
