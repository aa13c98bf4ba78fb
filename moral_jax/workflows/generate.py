"""Writes replies to prompts: a file of rows in, JSON lines out."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from moral_jax.config import Config
from moral_jax.config.sample import SampleConfig
from moral_jax.config.task import FieldsConfig, TaskConfig
from moral_jax.respondents.sampling import Sample
from moral_jax.runs.directory import RunDirectory
from moral_jax.runs.origin import NOT_BEGUN
from moral_jax.runtime.files import write_jsonl
from moral_jax.tasks import load as task_rows
from moral_jax.types import Example
from moral_jax.workflows.evaluate import local_respondent, on_texts

REPLIES = "replies.jsonl"


def rows_of(path: str, fields: FieldsConfig) -> Sequence[Example]:
    """Returns the prompts of a file, in the columns that `fields` names.

    Raises:
      UserError: the file cannot be read, or a row is no prompt.
    """
    task = TaskConfig(name="prompts", path=path, fields=fields)
    rows, _ = task_rows.of_one_file(path, task)
    return rows["rows"]


def replies(
    config: Config, examples: Sequence[Example], how: SampleConfig, stops: Sequence[str], run: RunDirectory | None
) -> Iterator[tuple[int, list[Sample]]]:
    """Yields (place of a row, its replies) as they come to an end.

    Args:
      config: names the model and how prompts are written; its task is not read.
      run: write with the weights that this run stands for.

    Raises:
      UserError: the model writes no texts, or has no room for a prompt.
    """
    respondent, _ = local_respondent(on_texts(config, TaskConfig(name="prompts")), run, NOT_BEGUN)
    yield from respondent.sample(examples, how, stops)


def write(folder: Path, samples: Sequence[Sample]) -> Path:
    """Writes replies, in the order of the rows; returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(folder / REPLIES, [s._asdict() for s in samples])
    return folder / REPLIES
