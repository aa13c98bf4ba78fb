"""Settings of the task: which rows, how they are divided, and how they become prompts."""

import dataclasses
from typing import Annotated, ClassVar, Literal

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
    """For task `votes`: the columns that are read, whatever characters their names have. "a.b" reaches into the object
    in column a. In templates "{a} {b}" joins columns; a column that no row has is an error."""

    SECTION: ClassVar[str] = "task.fields"
    id: str = "{id}"
    """Template of the row's unique name; where it is empty, the line number is used."""
    text: str = "{text}"
    """Template of the text that is judged; empty if there is none."""
    title: str = ""
    """Template of the text's title."""
    question: str = "{question}"
    """Template of the question; may be fixed words."""
    options: str = "options"
    """Column with the list of options, or the options themselves, which may be templates: "Yes|No", "{a}|{b}"."""
    counts: str = "counts"
    """Column with votes or shares: a list, or an object label -> votes; or a column per option: "n_yes|n_no"."""
    labels: str = ""
    """Instead of counts: column with the labels that people gave, as a list, "1,0,1", or an object person -> label."""
    codes: str = ""
    """The data's labels for the options, in their order, where they are not the options' own words: "1|0"."""
    ignore: str = ""
    """Labels that are no vote: "-1|not sure"."""
    total: str = ""
    """Column with the number of people behind shares."""
    each: str = ""
    """Several questions per row: NAME or NAME=WORDS, as "care=caring|harm", for {each} and {each words} elsewhere."""
    vote: str = ""
    """For a row per person: column with the person's label."""
    item: str = ""
    """For a row per person: column that names what is voted on, or a template of several."""
    person: str = ""
    """For a row per person: column that names the person, so that a second vote on an item is an error."""
    weight: str = ""
    """For a row per person: column with the weight of the vote. For texts: with the weight of the text."""
    by: str = ""
    """For a row per person: columns of people's groups, "gender|age": a question per item and group."""
    messages: str = "messages"
    """Column with chat turns that come before the question; may be absent."""
    prompt: str = "prompt"
    """For texts and preferences: column with the prompt, a text or chat turns; may be absent."""
    completion: str = "completion"
    """For texts: column with what follows the prompt."""
    chosen: str = "chosen"
    """For preferences: column with the preferred completion, or a whole dialogue that ends with it."""
    rejected: str = "rejected"
    """For preferences: column with the other completion."""
    completions: str = "completions"
    """For preferences with votes: column with the list of completions; `counts` holds their votes."""
    key: str = ""
    """Template of what rows may share (a scenario, say): such rows stay on one side of the split."""
    group: str = ""
    """Template of the name of the subset in which the report shows a row."""

    def __post_init__(self) -> None:
        for_people = [name for name in ("item", "person", "by") if getattr(self, name)]
        if self.vote:
            check(self, "item", bool(self.item), "the column that names what is voted on, as vote is set")
            check(self, "labels", not self.labels, "nothing, as vote is set")
        elif for_people:
            check(self, for_people[0], False, "nothing, as it belongs to a row per person: set vote and item too")
        used = any("{each}" in getattr(self, f.name) or "{each words}" in getattr(self, f.name)
                   for f in dataclasses.fields(self))  # fmt: skip
        check(self, "each", bool(self.each) == used, "names, and {each} or {each words} in another field; or neither")


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """What to learn: which rows of votes, and how they are divided."""

    name: str = "dilemmas"
    """dilemmas, anecdotes, anecdotes_binary, votes (any table), synthetic (a small made-up sample), texts (chats,
    completions, documents), preferences (between completions), truthfulqa, kaleido_relevance, kaleido_valence,
    kaleido_generation, kaleido_explanation, mixture."""
    path: str | None = None
    """JSON lines, JSON, CSV, TSV, parquet or arrow (.gz, .zst too), a folder or pattern ("part-*.csv") of them, or a
    data set of the hub, OWNER/NAME[@REVISION][/CONFIG][:SPLIT]; default: the released archive, with its own splits
    (synthetic: built in)."""
    columns: str | None = None
    """Names of the columns of a CSV or TSV file without a header: "better|worse"."""
    validation_path: str | None = None
    """The validation rows; default: a share of `path`."""
    items_path: str | None = None
    """For a row per person: a table of the items, named by its `fields.id`; its column a is {items.a} in templates.
    For truthfulqa: its table of questions with categories."""
    test_path: str | None = None
    """The test rows; default: a share of `path`. Training rows that share a key or a question with them are dropped."""
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
    """For shares instead of counts: scale every row to so many votes; `fields.total` names a column for it."""
    majority: bool = False
    """True to train on each row's most chosen option in place of its votes; validation and test keep them."""
    scale: bool = False
    """True if the options are points of an ordinal scale: their order is kept, and their own digits are the labels."""
    licence: str | None = None
    """Licence of the rows as an SPDX expression, which runs write down; default: that of the data.toml beside them, of
    the data set's card on the hub, or the task's."""
    source: str | None = None
    """Where the rows come from, which runs write down; default: as of `licence`."""
    citation: str | None = None
    """Whom to cite for the rows, which runs write down; default: as of `licence`."""
    test_only: bool = False
    """True for rows that may not be trained on: all of them are test rows, and nothing is trained."""
    on_bad_row: Literal["stop", "drop"] = "stop"
    """stop: a run with bad rows ends before it begins, and names them; drop: they are left out, counted and shown."""
    replies: Literal["all", "last"] = "all"
    """For texts: which of the assistant's turns are learned, all of a conversation or the last one."""
    sources: tuple["SourceConfig", ...] = ()
    """For task `mixture`: several data sets, each with its own task and prompt; made by `config.source` in a file."""
    train_on: str | None = None
    """Sources that are trained on, "moca|unimoral", or all but those, "-moca"; all are tested on. Default: all."""
    fields: FieldsConfig = dataclasses.field(default_factory=FieldsConfig)

    def __post_init__(self) -> None:
        check_fields(self)
        check_local(self, "path", "validation_path", "test_path", "items_path")
        is_mixture = self.name == "mixture"
        check(self, "sources", bool(self.sources) == is_mixture, "sources with task mixture, and with no other")
        names = [source.name for source in self.sources]
        check(self, "sources", len(set(names)) == len(names), "sources whose names differ")
        for name in (self.train_on or "").removeprefix("-").split("|") if self.train_on is not None else ():
            check(
                self, "train_on", name in names, f"names of config.task.sources: {', '.join(names) or 'there are none'}"
            )
        check(self, "test", self.validation + self.test <= 1, "validation + test <= 1")
        reads_items = bool(self.fields.vote) or self.name == "truthfulqa"
        check(self, "items_path", not self.items_path or reads_items, "none without config.task.fields.vote")
        check(self, "test_only", not (self.test_only and self.test_path), "false, or all rows in config.task.path")
        has_weights = bool(self.fields.vote) or self.name == "texts" or not self.fields.weight
        check(self.fields, "weight", has_weights, "none without config.task.fields.vote, or for texts")
        one_total = self.total_votes is None or not self.fields.total
        check(self, "total_votes", one_total, "none, as config.task.fields.total names a column for it")


@dataclasses.dataclass(frozen=True)
class PromptConfig:
    """How a row becomes a prompt. Where the answer is read is config.model.head."""

    format: Literal["chat", "plain", "paper"] | None = None
    """chat (the model's chat template), plain (without one, for base models), paper (the prompt of arXiv 2410.07826,
    word for word); default: chat, or plain where a score head answers or options are read as texts. Texts and
    preferences of a model without a chat template are plain too."""
    ask: Literal["together", "each"] | None = None
    """together (one prompt shows all options) or each (a prompt for each option alone); default: each with
    config.model.head=score or text, together otherwise."""
    template: str | None = None
    """Another user message, with {question}, {title}, {text} and {options} (ask=each: {option})."""
    system: str | None = None
    """System message of format chat; default: what the chat template says by itself."""
    labels: str | None = None
    """One character per option; default: A, B, C ..., or a scale's own digits with config.task.scale."""
    answer_prefix: str | None = None
    """What the answer starts with, "Answer:" by default."""
    orders: Literal["rotations", "reversal", "all", "given"] | None = None
    """Orders in which options are shown, in turn in training and averaged in scoring; all: every permutation, of five
    options at most; given: the data's own alone. Default: rotations, or reversal with config.task.scale. Prompts that
    show no options in places (ask=each, classes, the study's anecdotes) have one order."""

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
        return self.ask or ("each" if head in ("score", "text") else "together")


@dataclasses.dataclass(frozen=True)
class SourceConfig:
    """One data set of a mixture."""

    SECTION: ClassVar[str] = "task.sources"

    name: str
    """Its name on the page, and in `train_on`."""
    weight: Annotated[float, POSITIVE] = 1.0
    """How often an epoch shows each of its training rows: 2 twice, 0.5 every other one."""
    task: TaskConfig = dataclasses.field(default_factory=TaskConfig)
    prompt: PromptConfig = dataclasses.field(default_factory=PromptConfig)

    def __post_init__(self) -> None:
        check_fields(self)
        plain = self.name and not set(self.name) & set("|: ") and not self.name.startswith("-")
        check(self, "name", bool(plain), "a name without blanks, '|' and ':' that does not start with '-'")
        check(self, "task", not self.task.sources, "one data set, as a mixture holds no mixtures")
