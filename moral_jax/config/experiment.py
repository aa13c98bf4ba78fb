"""All settings of one experiment."""

import dataclasses

from moral_jax.config.checks import check
from moral_jax.config.evaluate import EvalConfig
from moral_jax.config.model import AdapterConfig, MeshConfig, ModelConfig
from moral_jax.config.respondent import RespondentConfig
from moral_jax.config.rollout import RolloutConfig
from moral_jax.config.task import PromptConfig, TaskConfig
from moral_jax.config.train import DataConfig, ObjectiveConfig, OptimConfig, TrainConfig
from moral_jax.types import Example

CONVERSATIONS = ("texts", "preferences", "prompts")  # tasks whose rows a chat template writes, whatever the head


@dataclasses.dataclass(frozen=True)
class Config:
    """One experiment."""

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    adapter: AdapterConfig = dataclasses.field(default_factory=AdapterConfig)
    task: TaskConfig = dataclasses.field(default_factory=TaskConfig)
    prompt: PromptConfig = dataclasses.field(default_factory=PromptConfig)
    respondent: RespondentConfig = dataclasses.field(default_factory=RespondentConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    objective: ObjectiveConfig = dataclasses.field(default_factory=ObjectiveConfig)
    rollout: RolloutConfig = dataclasses.field(default_factory=RolloutConfig)
    optim: OptimConfig = dataclasses.field(default_factory=OptimConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)
    eval: EvalConfig = dataclasses.field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        trains_all = self.adapter.kind == "none"
        expected = "'none', because quantised weights cannot be trained; or set config.adapter.kind='lora'"
        check(self.model, "quantize", not trains_all or self.model.quantize == "none", expected)
        rows, micro_rows = self.data.batch_size, self.data.micro_batch_size
        divides = rows % micro_rows == 0 or self.task.name == "prompts"  # there a step has as many rows as it needs
        check(self.data, "micro_batch_size", divides, f"a divisor of batch_size={rows}")
        initial = self.eval.initial or self.trains
        check(self.eval, "initial", initial, "true where nothing is trained, as then nothing else is scored")
        head = self.model.head
        ask = "each" if head in ("score", "text") else "together"
        text_score = head == "text" or self.model.text_score == "sum"
        check(self.model, "text_score", text_score, "'sum', as only config.model.head='text' reads it")
        fixed = self.model.text_score != "prior" or not self.trains
        check(self.model, "text_score", fixed, "'sum' or 'per_token' where anything is trained (config.train.steps=0)")
        for prompt in (self.prompt, *(source.prompt for source in self.task.sources)):
            check(prompt, "ask", prompt.ask_for(head) == ask, f"{ask!r} with config.model.head={head!r}")
            reads_chat = (
                head in ("vocabulary", "text") or self.task.name in CONVERSATIONS or prompt.format_for(head) == "plain"
            )
            check(prompt, "format", reads_chat, f"'plain' with config.model.head={head!r}, which reads no chat")

    def source(self, name: str) -> tuple[TaskConfig, PromptConfig]:
        """Returns task and prompt of a source of a mixture; those of the config where the task is none."""
        return next(((s.task, s.prompt) for s in self.task.sources if s.name == name), (self.task, self.prompt))

    def orders_of(self, example: Example) -> str:
        """Returns the setting of the orders in which an example's options are shown; a scale keeps its order."""
        _, prompt = self.source(example.source)
        return prompt.orders or ("reversal" if example.positions else "rotations")

    @property
    def trains(self) -> bool:
        """True if the settings ask for any training step."""
        return self.train.steps != 0 and self.train.epochs != 0
