"""Settings of the task: rows, how they are divided, and how they become prompts."""

import dataclasses

from moral_jax.config.checks import check, check_choice


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
        check(self, "validation", 0 <= self.validation < 1, "a share in [0, 1)")
        check(self, "test", 0 <= self.test <= 1, "a share in [0, 1]")
        check(self, "test", self.validation + self.test <= 1, "validation + test <= 1")
        check(self, "train_share", 0 < self.train_share <= 1, "a share in (0, 1]")
        check(self, "limit", self.limit is None or self.limit >= 1, "at least 1")
        check(self, "total_votes", self.total_votes is None or self.total_votes > 0, "a positive number")


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
        check(self, "labels", differ, "characters that differ, none of them blank")
        check_choice(self, "orders", ("rotations", "reversal", "given"))
