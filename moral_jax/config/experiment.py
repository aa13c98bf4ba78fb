"""All settings of one experiment."""

import dataclasses

from moral_jax.config.checks import check
from moral_jax.config.evaluate import EvalConfig
from moral_jax.config.model import AdapterConfig, MeshConfig, ModelConfig
from moral_jax.config.task import PromptConfig, TaskConfig
from moral_jax.config.train import DataConfig, ObjectiveConfig, OptimConfig, TrainConfig


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
        check(self.model, "quantize", not trains_all or self.model.quantize == "none", expected)
        scores = self.eval.before or (self.train.steps != 0 and self.train.epochs != 0)
        check(self.eval, "before", scores, "true where nothing is trained, as then nothing else is scored")
