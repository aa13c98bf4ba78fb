"""From a config to a model: its files, its settings for these devices, and its parameters."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from moral_jax import objectives, sharding
from moral_jax.config import Config
from moral_jax.data import encode
from moral_jax.models import adapters, api, parameters, quantize
from moral_jax.models.attention_choice import choose as choose_attention
from moral_jax.models.product import arithmetic
from moral_jax.models.spec import ComputeOptions, EncoderSpec, Spec
from moral_jax.prompts import render
from moral_jax.respondents.encode import ModelFiles, QuestionEncoder
from moral_jax.runs import origin
from moral_jax.runs.directory import RunDirectory
from moral_jax.runtime.console import info
from moral_jax.tasks import registry
from moral_jax.train import manifest
from moral_jax.train.checkpoint import Checkpoints
from moral_jax.types import RETURN, Example, Params, UserError
from moral_jax.weights import load, peft, source, tokenizer
from moral_jax.workflows import earlier, taken_over


def _score_rows(config: Config, spec: Spec) -> int:
    """Returns how many rows the score head has; refuses a head that does not go with the model or the task."""
    head, task = config.model.head, registry.get(config.task.name)
    setting, is_encoder = f"config.model.head={head!r}", isinstance(spec, EncoderSpec)
    if is_encoder and head in ("vocabulary", "text"):
        advice = "'classes' (title and text, a score per option)" if task.classes else "'score' (a text and score each)"
        raise UserError(
            f"{setting}: predicts the next token, which encoders such as {spec.family} cannot do; for task "
            f"{config.task.name!r} use {advice}"
        )
    if head != "classes":
        return int(head == "score")
    if not is_encoder:
        raise UserError(
            f"{setting}: is for encoders; {spec.family} can read all options in one prompt: use 'vocabulary'"
        )
    if task.classes is None:
        some = ", ".join(name for name, other in registry.TASKS.items() if other.classes)
        raise UserError(f"{setting}: needs the same options in every row, as tasks {some} have; use 'score'")
    return len(task.classes)


def _arithmetic(config: Config, platform: str, began: origin.Provenance) -> tuple[str, str]:
    """Returns the types of activations and of products' operands: half a run with others could not be compared."""
    here = arithmetic(config.model.dtype, config.model.product_dtype, platform)
    first = began.get("arithmetic", {})
    m = dataclasses.replace(config.model, **{k: first[k] for k in ("dtype", "product_dtype") if k in first})
    kept = arithmetic(m.dtype, m.product_dtype, platform)
    if kept != here:
        info(
            f"this run began with config.model.dtype={kept[0]} and config.model.product_dtype={kept[1]}, and keeps "
            f"them; this machine by itself takes {here[0]} and {here[1]}"
        )
    return kept


def make_model(
    config: Config,
    spec: Spec,
    mesh: Mesh,
    began: origin.Provenance = origin.NOT_BEGUN,
    say: Callable[[str], None] = info,
    choose: Callable[[str | None, str, Spec, str, int], tuple[str, str]] = choose_attention,
) -> api.Model:
    """Returns the model that the config asks for, with open settings chosen for the mesh's devices.

    Args:
      began: as of `find_model`.
      say: told what was chosen.
      choose: `attention_choice.choose`, or what takes its place where the mesh's devices are not here.
    """
    score_rows = _score_rows(config, spec)
    if spec.kv_heads % mesh.shape[sharding.TENSOR]:
        raise UserError(
            f"config.mesh.tensor={mesh.shape[sharding.TENSOR]}: cuts heads, so it must divide the model's "
            f"{spec.kv_heads} key/value heads"
        )
    if config.adapter.first_layer >= spec.layers:
        first = config.adapter.first_layer
        raise UserError(f"config.adapter.first_layer={first}: the model has {spec.layers} layers; expected less")
    if config.adapter.kind != "none" and not adapters.entries(spec, config.adapter):
        names = dict.fromkeys(e.projection for e in parameters.entries(spec) if e.path.endswith("/kernel"))
        raise UserError(
            f"config.adapter.targets={config.adapter.targets!r}: matches no matrix of {spec.family}, which has "
            f"{', '.join(names)}"
        )
    inputs = {"width": spec.width, "heads x head size": spec.heads * spec.head_size, "MLP width": spec.mlp_width}
    for name, size in inputs.items():
        if config.model.quantize == "nf4" and size % quantize.BLOCK:
            raise UserError(
                f"config.model.quantize='nf4': needs a multiple of {quantize.BLOCK} inputs to every matrix, but the "
                f"model's {name} is {size}; int8 takes any"
            )
    m, platform = config.model, mesh.devices.flat[0].platform
    dtype, product_dtype = _arithmetic(config, platform, began)
    attention, why = choose(m.attention, platform, spec, dtype, config.data.length)
    say(f"activations in {dtype}, products in {product_dtype}, attention {attention}" + (f" ({why})" if why else ""))
    compute = ComputeOptions(
        mesh=mesh,
        dtype=dtype,
        product_dtype=product_dtype,
        param_dtype=m.param_dtype,
        attention=attention,
        remat=m.remat,
        # side by side, XLA merges what the layers of a CPU compute again with what they computed before
        unroll=m.unroll or (spec.layers if platform == "cpu" and m.remat == "none" else 1),
    )
    o = config.objective
    kind, value = o.concentration, o.initial_concentration
    per_token = m.text_score == "per_token"
    critic = RETURN in objectives.get(o.name).columns
    return api.Model(spec, compute, score_rows, m.quantize, config.adapter, kind, value, per_token, critic)


def find_model(
    config: Config, hub_files: list[str] = source.HUB_FILES, began: origin.Provenance = origin.NOT_BEGUN
) -> ModelFiles:
    """Resolves the model's files and reads its description, without its weights. Of a run, these are the files in front
    of all that was trained.

    Args:
      hub_files: which of a hub model's files are fetched.
      began: the provenance of the run that goes on, which keeps the commit of its model and its arithmetic.
    """
    root = earlier.root(config, began)
    path = source.resolve(_pinned(root.path, root.began), hub_files)
    model = make_model(config, load.read_spec(path), sharding.make_mesh(config.mesh), began)
    words = source.resolve(root.tokenizer, hub_files) if root.tokenizer else path
    return ModelFiles(path, tokenizer.load(words), model, words)


def _pinned(path: str, began: origin.Provenance) -> str:
    """Returns a model of the hub at the commit at which the run began: its main branch may have moved since."""
    commit = began.get("model", {}).get("revision")
    return f"{path}@{commit}" if commit and source.is_hub_name(path) and "@" not in path else path


class InitialParams:
    """The parameters that a run starts from, loaded when they are first asked for: of files, or of the run before."""

    def __init__(self, config: Config, files: ModelFiles):
        self.config, self.files = config, files

    @functools.cached_property
    def _before(self) -> taken_over.Before | None:
        """The run that this one begins with; None where these are a model's own files."""
        found, model = earlier.find(self.config), self.files.model
        if found is None:
            return None
        anywhere = dataclasses.replace(found.config.model, attention="plain")
        config = dataclasses.replace(found.config, model=anywhere, mesh=self.config.mesh)
        own = make_model(config, model.spec, model.compute.mesh, say=lambda _: None)
        return taken_over.before(found, own, self.config, model)

    def _load(self, *, trained: bool) -> Params:
        """Returns the backbone, from files or as the run before has left it."""
        if (before := self._before) is None:
            return self._from_files(trained=trained)
        model = self.files.model
        if before.goes_on:  # beside the same frozen weights
            return self._at(before.found.config.model.path)._load(trained=trained)
        if before.model.trains_backbone:
            return taken_over.as_loaded(taken_over.whole(before), model, trained=trained)
        frozen = InitialParams(before.found.config, dataclasses.replace(self.files, model=before.model))
        backbone = taken_over.merged(before, frozen._load(trained=True))
        return taken_over.as_loaded(backbone, model, trained=trained)

    def check(self) -> None:
        """Raises UserError if what the run before has trained cannot be taken over as it is; loads nothing."""
        _ = self._before

    def backbone(self) -> Params:
        """Returns the backbone as training begins with it, quantised where it is."""
        return self._load(trained=True)

    @property
    def is_beside_files(self) -> bool:
        """True if the backbone is that of a model's files, whatever adapters runs have trained beside it."""
        if (before := self._before) is None:
            return True
        return before.goes_on and self._at(before.found.config.model.path).is_beside_files

    def _at(self, path: str) -> "InitialParams":
        """Returns the same with another model."""
        return InitialParams(
            dataclasses.replace(self.config, model=dataclasses.replace(self.config.model, path=path)), self.files
        )

    def _from_files(self, *, trained: bool) -> Params:
        model, piece_bytes = self.files.model, self.config.model.load_piece_mb << 20
        like, store = api.abstract_loaded(model, trained=trained), functools.partial(api.quantize_or_cast, model=model)
        return load.load(self.files.path, model.spec, like, piece_bytes, store, model.frozen_layers)

    @functools.cached_property
    def _backbone(self) -> Params:
        return self._load(trained=self.files.model.trains_backbone)

    @functools.cached_property
    def _all(self) -> Params:
        return self._with_heads(self._backbone)

    def training(self) -> Params:
        """Returns all parameters before training: weights from disk, heads and adapters fresh or given."""
        return self._all

    def for_scoring(self) -> Params:
        """Returns parameters for scoring, cast while loading so that the float32 copy never exists as a whole."""
        return self._with_heads(self._load(trained=False))

    def reference(self) -> Params:
        """Returns the same parameters for scoring, not shared with those that training changes."""
        return self._with_heads(self._backbone) if self.files.model.frozen else self.for_scoring()

    def _with_heads(self, backbone: Params) -> Params:
        model, config, path = self.files.model, self.config.adapter, self.files.path
        params = api.init_heads_and_adapters(backbone, model, self.config.train.seed, self._yes_no())
        like = api.abstract_params(model)
        if isinstance(model.spec, EncoderSpec):
            piece_bytes = self.config.model.load_piece_mb << 20
            params["score"] |= load.pooler(path, model.spec, like["score"], piece_bytes)
        if self._before:
            params |= taken_over.heads(self._before, model)
        if config.path is None:
            return params
        return params | {"adapters": peft.load(Path(config.path), model.spec, config, like["adapters"])}

    def _yes_no(self) -> tuple[int, int] | None:
        """Returns the tokens whose log-odds a decoder's score head begins as; None for other heads."""
        model = self.files.model
        about_options = registry.get(self.config.task.name).kind == "votes"
        if not (model.score_rows and about_options) or isinstance(model.spec, EncoderSpec):
            return None
        prompt = QuestionEncoder(self.config, self.files).render(Example("", "?", ("...",), (1.0,)), (0,)).texts[0][0]
        yes, no = encode.next_tokens(self.files.tokenizer, prompt, (render.YES, render.NO))
        return yes, no

    @property
    def frozen(self) -> Params:
        """The parameters that training leaves unchanged: with adapters the backbone, otherwise none."""
        model = self.files.model
        return {model.backbone: self._backbone} if model.frozen else {}


def about_run(about: Callable[[], dict[str, Any]], config: Config, run: RunDirectory) -> dict[str, Any]:
    """Returns what is recorded about the model that a run stands for: its files, and the checkpoint that answers."""
    model = about()
    if not run.is_trained:
        return model
    with Checkpoints(run.checkpoints) as checkpoints:
        step = checkpoints.chosen(config.train.select)
        checkpoint = {f"checkpoints/{step}": manifest.digest(checkpoints.read_manifest(step).checksums)}
    return model | {"settings_sha256": model["settings_sha256"] | checkpoint}


def selected_params(config: Config, initial: InitialParams, checkpoints: Checkpoints) -> Params:
    """Returns the parameters that a run stands for, cast for scoring: trained ones from the checkpoint, beside those
    that are frozen."""
    step, model = checkpoints.chosen(config.train.select), initial.files.model
    earlier.check_checkpoint(checkpoints, step)
    _, like = api.split(api.abstract_params(model), model)
    return api.cast_for_scoring(initial.frozen | checkpoints.restore_params(step, like), model)


def params_for_scoring(config: Config, initial: InitialParams, run: RunDirectory) -> Callable[[], Params]:
    """Returns a function that loads the parameters that a run stands for; of a run without checkpoints, its model's."""

    def load_params() -> Params:
        if not run.is_trained:
            return initial.for_scoring()
        with Checkpoints(run.checkpoints) as checkpoints:
            return selected_params(config, initial, checkpoints)

    return load_params
