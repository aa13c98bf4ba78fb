"""From a config to the things it names: tokenizer, policy, weights, encoded questions."""

import dataclasses
import functools
import hashlib
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh
from transformers import PreTrainedTokenizerBase

from moral_jax import sharding
from moral_jax.config import Config
from moral_jax.data import encode, layout, pipeline
from moral_jax.models import api, quantize
from moral_jax.models.attention import choose as choose_attention
from moral_jax.models.product import arithmetic
from moral_jax.models.spec import EncoderSpec, Execution, Spec
from moral_jax.prompts import chat, render
from moral_jax.runs.directory import versions
from moral_jax.runtime.console import say
from moral_jax.tasks import registry
from moral_jax.types import Example, Item, Params, UserError
from moral_jax.weights import hf, load, peft, source, tokenizer

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "transformers", "tokenizers")


@dataclasses.dataclass(frozen=True)
class Model:
    """A model that is found but not yet loaded."""

    path: Path
    tokenizer: PreTrainedTokenizerBase
    policy: api.Policy


def _score_rows(config: Config, spec: Spec) -> int:
    """How many rows the score head has; refuses a prompt that does not go with the model or the task."""
    family, task = config.prompt.family, registry.get(config.task.name)
    said, is_encoder = f"config.prompt.family={family!r}", isinstance(spec, EncoderSpec)
    if is_encoder and family not in render.SCORED:
        advice = "'classes' (title and text, a score per option)" if task.classes else "'each' (a text and score each)"
        raise UserError(
            f"{said}: reads the answer as a next token, which {spec.family}, an encoder, has not; for task "
            f"{config.task.name!r} use {advice}"
        )
    if family != "classes":
        return int(family == "each")
    if not is_encoder:
        raise UserError(f"{said}: is for encoders; {spec.family} can read all options in one prompt: use 'plain'")
    if task.classes is None:
        some = ", ".join(name for name, other in registry.TASKS.items() if other.classes)
        raise UserError(f"{said}: needs the same options in every row, as tasks {some} have; use 'each'")
    return len(task.classes)


def _check_encoder(config: Config, spec: EncoderSpec) -> None:
    if config.adapter.kind != "none":
        raise UserError(
            f"config.adapter.kind={config.adapter.kind!r}: {spec.family} is an encoder, of which all weights are "
            f"trained; set --config.adapter.kind=none and --config.model.quantize=none"
        )


def make_policy(config: Config, spec: Spec, mesh: Mesh) -> api.Policy:
    """The model as the config asks for it, with what it leaves open chosen for the mesh's devices."""
    if isinstance(spec, EncoderSpec):
        _check_encoder(config, spec)
    score_rows = _score_rows(config, spec)
    if spec.kv_heads % mesh.shape[sharding.TENSOR]:
        raise UserError(
            f"config.mesh.tensor={mesh.shape[sharding.TENSOR]}: cuts heads, so it must divide the model's "
            f"{spec.kv_heads} key/value heads"
        )
    if config.adapter.first_layer >= spec.layers:
        first = config.adapter.first_layer
        raise UserError(f"config.adapter.first_layer={first}: the model has {spec.layers} layers; expected less")
    inputs = {"width": spec.width, "heads x head size": spec.heads * spec.head_size, "MLP width": spec.mlp_width}
    for name, size in inputs.items():
        if config.model.quantize == "nf4" and size % quantize.BLOCK:
            raise UserError(
                f"config.model.quantize='nf4': needs a multiple of {quantize.BLOCK} inputs to every matrix, but the "
                f"model's {name} is {size}; int8 takes any"
            )
    m, platform = config.model, mesh.devices.flat[0].platform
    dtype, product_dtype = arithmetic(m.dtype, m.product_dtype, platform)
    attention, why = choose_attention(m.attention, platform, spec, dtype, config.data.length)
    say(f"activations in {dtype}, products in {product_dtype}, attention {attention}" + (f" ({why})" if why else ""))
    execution = Execution(
        mesh=mesh,
        dtype=dtype,
        product_dtype=product_dtype,
        param_dtype=m.param_dtype,
        attention=attention,
        remat=m.remat,
        unroll=m.unroll or (spec.layers if platform == "cpu" else 1),
    )
    if config.adapter.first_layer:
        spec = dataclasses.replace(spec, frozen_layers=config.adapter.first_layer)
    o = config.objective
    return api.Policy(spec, execution, score_rows, m.quantize, config.adapter, o.concentration, o.concentration_value)


def find_model(config: Config) -> Model:
    """Resolves the model's files and reads what it is, without its weights."""
    path = source.resolve(config.model.path)
    policy = make_policy(config, load.read_spec(path), sharding.make_mesh(config.mesh))
    words = source.resolve(config.model.tokenizer) if config.model.tokenizer else path
    return Model(path, tokenizer.load(words), policy)


class Weights:
    """What a run starts from, loaded where it is first asked for."""

    def __init__(self, config: Config, model: Model):
        self.config, self.model = config, model

    def _load(self, *, trained: bool) -> Params:
        policy, piece_bytes = self.model.policy, self.config.model.load_piece_mb << 20
        like, keep = api.abstract_loaded(policy, trained=trained), functools.partial(api.kept, policy=policy)
        return load.load(self.model.path, policy.spec, like, piece_bytes, keep)

    @functools.cached_property
    def _backbone(self) -> Params:
        return self._load(trained=self.model.policy.trains_backbone)

    @functools.cached_property
    def first(self) -> Params:
        """All parameters before training: weights from disk, fresh heads, adapters fresh or given."""
        return self._around(self._backbone)

    def as_read(self) -> Params:
        """The same for scoring alone (`api.as_read`), of which the precise ones are never all in memory."""
        return self._around(self._load(trained=False))

    def _around(self, backbone: Params) -> Params:
        policy, config, path = self.model.policy, self.config.adapter, self.model.path
        params = api.with_fresh(backbone, policy, self.config.train.seed, self._yes_no())
        like = api.abstract_params(policy)
        if isinstance(policy.spec, EncoderSpec):
            piece_bytes = self.config.model.load_piece_mb << 20
            params["score"] |= load.pooler(path, policy.spec, like["score"], piece_bytes)
        if config.path is None:
            return params
        return params | {"adapters": peft.load(Path(config.path), policy.spec, config, like["adapters"])}

    def _yes_no(self) -> tuple[int, int] | None:
        """The tokens whose log-odds a decoder's score head begins as."""
        if not self.model.policy.score_rows or isinstance(self.model.policy.spec, EncoderSpec):
            return None
        prompt = Prompter(self.config, self.model).render(Example("", "?", ("...",), (1.0,)), (0,)).texts[0][0]
        yes, no = encode.next_tokens(self.model.tokenizer, prompt, (render.YES, render.NO))
        return yes, no

    @property
    def frozen(self) -> Params:
        """Those that training leaves as they are: with adapters the backbone, otherwise none."""
        policy = self.model.policy
        return {policy.backbone: self._backbone} if policy.frozen else {}


class Prompter:
    """Encodes examples the way a config asks for."""

    def __init__(self, config: Config, model: Model):
        task, spec = registry.get(config.task.name), model.policy.spec
        is_encoder, self.vocab = isinstance(spec, EncoderSpec), spec.vocab
        self.config, self.tokenizer = config, model.tokenizer
        if model.policy.score_rows:
            self.render = render.make_scored_renderer(config.prompt, task.about_one, is_encoder=is_encoder)
        else:
            self.render = render.make_renderer(config.prompt, task.study_prompt, chat.renderer(model.tokenizer))
        self.orders = (config.prompt.orders, render.options_move(config.prompt, task.study_prompt))
        self.limits = encode.Limits(config.data.length, spec.max_positions, shares=not is_encoder)

    def _encode(self, examples: Sequence[Example], items: list[Item], what: str) -> layout.Questions:
        questions = pipeline.encode_items(examples, items, self.tokenizer, self.render, self.limits, what)
        last = max((int(t.tokens_T.max()) for one in questions.encoded for t in one.texts), default=0)
        if last >= self.vocab:
            raise UserError(
                f"token {last} is beyond the model's {self.vocab}: tokenizer and model do not belong together; "
                f"take the model's own (config.model.tokenizer)"
            )
        return questions

    def for_scoring(self, examples: Sequence[Example], what: str) -> layout.Questions:
        """Every example in every order."""
        return self._encode(examples, render.all_items(examples, *self.orders), what)

    def for_training(
        self, examples: Sequence[Example], epochs: int
    ) -> tuple[layout.Questions, list[list[tuple[Item, ...]]]]:
        """What each epoch shows, and all of it encoded."""
        at_once = self.config.train.orders
        shown = [pipeline.epoch_items(examples, epoch, *self.orders, at_once) for epoch in range(epochs)]
        return self._encode(examples, [item for units in shown for unit in units for item in unit], "train"), shown


def weight_hashes(path: Path) -> dict[str, str]:
    """SHA-256 of every weight file."""
    files = [path] if path.is_file() else sorted(hf.weight_files(path))
    hashes = {}
    for file in files:
        with file.open("rb") as f:
            hashes[file.name] = hashlib.file_digest(f, "sha256").hexdigest()
    return hashes


def _adapter_hashes(config: Config) -> dict[str, str]:
    return weight_hashes(Path(config.adapter.path) / peft.TENSORS) if config.adapter.path else {}


def provenance(config: Config, model: Model, data: dict[str, Any]) -> dict[str, Any]:
    """Where the numbers of a run come from: data, weights, versions, device."""
    return {
        "data": data,
        "model": {
            "path": config.model.path,
            "revision": source.revision(model.path),
            "family": model.policy.spec.family,
            "sha256": weight_hashes(model.path) | _adapter_hashes(config),
        },
        "versions": versions(LIBRARIES),
        "arithmetic": {
            "dtype": model.policy.execution.dtype,
            "product_dtype": model.policy.execution.product_dtype,
            "attention": model.policy.execution.attention,
        },
        "device": {
            "backend": jax.default_backend(),
            "kind": jax.devices()[0].device_kind,
            "count": jax.device_count(),
            "machine": platform.machine(),
        },
    }
