"""Settings of the task: which rows, how they are divided, and how they become prompts."""

import dataclasses
from typing import Annotated, Literal

from moral_jax.config.checks import (
    AT_LEAST_1,
    POSITIVE,
    SHARE,
    SHARE_ABOVE_0,
    SHARE_BELOW_1,
    check,
    check_fields,
    check_local,
)


@dataclasses.dataclass(frozen=True)
class FieldsConfig:
    """For task `votes`: the fields of a JSON row that are read. In templates "{a} {b}" joins fields, and "{a.b}"
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
    validation: Annotated[float, SHARE_BELOW_1] = 0.1
    """Share of rows for choosing the best step, early stop and calibration, when `validation_path` is not given."""
    test: Annotated[float, SHARE] = 0.2
    """Share of rows that the reported numbers come from, when `test_path` is not given."""
    split_seed: int = 0
    """Seed of the hash that divides the rows."""
    train_share: Annotated[float, SHARE_ABOVE_0] = 1.0
    """Share of the training rows that is used (those with the lowest hash, so a smaller share lies in a larger)."""
    limit: Annotated[int, AT_LEAST_1] | None = None
    """Keep only so many rows of each split (those with the lowest hash)."""
    total_votes: Annotated[float, POSITIVE] | None = None
    """For shares instead of counts: scale every row to so many votes."""
    fields: FieldsConfig = dataclasses.field(default_factory=FieldsConfig)

    def __post_init__(self) -> None:
        check_fields(self)
        check_local(self, "path", "validation_path", "test_path")
        check(self, "test", self.validation + self.test <= 1, "validation + test <= 1")


@dataclasses.dataclass(frozen=True)
class PromptConfig:
    """How a row becomes a prompt. Where the answer is read is config.model.head."""

    format: Literal["chat", "plain", "paper"] | None = None
    """chat (the model's chat template), plain (without one, for base models), paper (the prompt of arXiv 2410.07826,
    word for word); default: chat, or plain where a score head answers."""
    ask: Literal["together", "each"] | None = None
    """together (one prompt shows all options) or each (a prompt for each option alone); default: each with
    config.model.head=score, together otherwise."""
    template: str | None = None
    """Another user message, with {question}, {title}, {text} and {options} (ask=each: {option})."""
    system: str | None = None
    """System message of format chat; default: what the chat template says by itself."""
    labels: str | None = None
    """One character per option, "ABCDEFGHIJ" by default."""
    answer_prefix: str | None = None
    """What the answer starts with, "Answer:" by default."""
    orders: Literal["rotations", "reversal", "given"] = "rotations"
    """Orders in which options are shown, in turn in training and averaged in scoring; given: the data's own alone.
    Prompts that show no options in places (ask=each, classes, the study's anecdotes) have one order."""

    def __post_init__(self) -> None:
        check_fields(self)
        labels = self.labels or "A"
        differ = len(set(labels)) == len(labels) and not any(label.isspace() for label in labels)
        check(self, "labels", differ, "characters that differ, none of them blank")

    def format_for(self, head: str) -> str:
        """Returns the format, the default filled in for a model with that head."""
        return self.format or ("chat" if head == "vocabulary" else "plain")

    def ask_for(self, head: str) -> str:
        """Returns how options are asked about, the default filled in for a model with that head."""
        return self.ask or ("each" if head == "score" else "together")
