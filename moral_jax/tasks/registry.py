"""Defines the tasks.

`TASKS` is a literal table: how each task reads a row, and whether its rows are built in or released for download.
"""

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from moral_jax.config.task import FieldsConfig, TaskConfig
from moral_jax.tasks import archive, kaleido, scruples, synthetic, texts, truthfulqa, votes
from moral_jax.tasks.rows import Columns, Row
from moral_jax.types import Example, UserError

SCRUPLES_CITATION = "Lourie, Le Bras and Choi, Scruples, AAAI 2021, arXiv 2008.09094"
SCRUPLES_SOURCE = "https://github.com/allenai/scruples"
SCRUPLES_LICENCE = "code Apache-2.0, no separate data licence named; texts from Reddit, research use"
OWN = "the file's own"  # citation and licence of rows that a file brings


class Task(NamedTuple):
    """A task: how its rows are read, where they come from, and which prompts fit."""

    examples: Callable[[Row, TaskConfig], list[Example]]  # the questions of one row
    description: str
    citation: str = OWN
    licence: str = OWN
    source: str = ""  # where its rows come from
    built_in: Callable[[], list[Example]] | None = None
    released: archive.Released | None = None
    study_prompt: str | None = None  # name of the prompt of arXiv 2410.07826 that fits
    about_one: str | None = None  # a fixed yes/no question about a single option; yes is a vote for it
    classes: tuple[str, ...] | None = None  # the options, if every row has the same ones
    # where several rows make a question: rows -> one row per question; both pass on the errors of bad rows
    grouped: Callable[[Iterable[Row | UserError], TaskConfig], Iterable[Row | UserError]] = lambda rows, _: rows
    check_columns: Callable[[Columns, FieldsConfig, str], None] = lambda *_: None
    marks_truth: bool = False  # the votes say which options are true
    # options to choose from, one text, several completions, or nothing yet that answers
    kind: Literal["votes", "texts", "preferences", "prompts"] = "votes"


def _of_a_source(row: Row, config: TaskConfig) -> list[Example]:
    raise UserError(f"{row.where}: a mixture has no format of its own; name the task (config.task.name) of the file")


TASKS: dict[str, Task] = {
    "dilemmas": Task(
        examples=lambda row, _: [scruples.dilemma(row)],
        released=archive.DILEMMAS,
        study_prompt="dilemmas",
        about_one=scruples.UNETHICAL,
        description="Scruples DILEMMAS: which of two actions is less ethical, five votes each",
        citation=SCRUPLES_CITATION,
        licence=SCRUPLES_LICENCE,
        source=SCRUPLES_SOURCE,
    ),
    "anecdotes": Task(
        examples=lambda row, _: [scruples.anecdote(row)],
        released=archive.ANECDOTES,
        classes=tuple(scruples.FIVE_WAY.values()),
        description="Scruples ANECDOTES: who is in the wrong, five answers",
        citation=SCRUPLES_CITATION,
        licence=SCRUPLES_LICENCE,
        source=SCRUPLES_SOURCE,
    ),
    "anecdotes_binary": Task(
        examples=lambda row, _: [scruples.anecdote_binary(row)],
        released=archive.ANECDOTES,
        study_prompt="anecdotes",
        classes=tuple(scruples.BINARY.values()),
        description="Scruples ANECDOTES: is the author in the right or in the wrong",
        citation=SCRUPLES_CITATION,
        licence=SCRUPLES_LICENCE,
        source=SCRUPLES_SOURCE,
    ),
    "votes": Task(
        examples=votes.examples,
        description="votes on questions with options",
        grouped=votes.by_item,
        check_columns=votes.check_columns,
    ),
    "texts": Task(
        examples=texts.text_examples,
        description="texts: conversations, completions or documents",
        check_columns=texts.check_columns,
        kind="texts",
    ),
    "preferences": Task(
        examples=texts.preference_examples,
        description="preferences between completions of a prompt",
        check_columns=texts.check_columns,
        kind="preferences",
    ),
    "prompts": Task(
        examples=texts.prompt_examples,
        description="prompts that wait for a reply",
        check_columns=texts.check_columns,
        kind="prompts",
    ),
    **{
        name: Task(
            examples=of_row,
            description=f"values, rights and duties in situations: {what}",
            citation="Sorensen et al., Value Kaleidoscope, AAAI 2024, arXiv 2309.00779",
            kind=kind,
        )
        for name, (of_row, what, kind) in kaleido.TASKS.items()
    },
    "truthfulqa": Task(
        examples=truthfulqa.examples,
        description="TruthfulQA, multiple choice: one true answer among false ones (MC1), several true ones (MC2)",
        citation="Lin, Hilton and Evans, TruthfulQA, ACL 2022, arXiv 2109.07958",
        licence="Apache-2.0",
        source="https://github.com/sylinrl/TruthfulQA",
        grouped=truthfulqa.with_categories,
        marks_truth=True,
    ),
    "mixture": Task(
        examples=_of_a_source,
        description="a mixture of data sets",
        citation="those of its sources",
        licence="those of its sources",
    ),
    "synthetic": Task(
        examples=lambda row, _: [scruples.dilemma(row)],
        built_in=synthetic.examples,
        study_prompt="dilemmas",
        about_one=scruples.UNETHICAL,
        description="SYNTHETIC dilemmas: made-up actions, votes drawn from a seeded model, no human judged them",
        citation="written for moral_jax",
        licence="Apache-2.0",
        source="moral_jax itself",
    ),
}


def get(name: str) -> Task:
    """Returns the task of that name; raises UserError if there is none."""
    if name not in TASKS:
        raise UserError(f"config.task.name={name!r}: no such task; there are {', '.join(TASKS)}")
    return TASKS[name]


def kind_of(config: TaskConfig) -> str:
    """Returns what the rows of a task are: the kind of its one data set, or "mixed" where a mixture holds texts too."""
    if any(get(source.task.name).kind == "texts" for source in config.sources):
        return "mixed"
    return get(config.name).kind
