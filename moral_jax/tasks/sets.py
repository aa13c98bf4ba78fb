"""What a run records about each set of its rows: which splits it is in, its licence, where it is from, whom to cite."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moral_jax.config.task import TaskConfig
from moral_jax.runtime.strict_json import shown
from moral_jax.tasks import hub, registry
from moral_jax.tasks.reading import FileRows
from moral_jax.types import UserError

Set = dict[str, Any]  # JSON
HUB = "https://huggingface.co/datasets/"


def licence_of(config: TaskConfig, file: FileRows) -> str:
    """Returns the licence of a file: what the config says, or the data.toml, or the hub's card, or the task."""
    said = file.declared.licence if file.declared else file.licence
    return config.licence or said or registry.get(config.name).licence


def citation_of(config: TaskConfig, file: FileRows) -> str:
    """Returns whom to cite for a file."""
    return config.citation or (file.declared.citation if file.declared else "") or registry.get(config.name).citation


def _source(config: TaskConfig, path: str | None, file: FileRows) -> str:
    """Returns where the rows of a file are from; "" if nobody says, as a path on this machine is no source."""
    if config.source:
        return config.source
    if file.declared:
        return file.declared.source
    named = hub.parse(path) if path else None
    return f"{HUB}{named.repo}" if named else registry.get(config.name).source


def _unless_own(text: str) -> str:
    return "" if text == registry.OWN else text


def of_file(config: TaskConfig, path: str | None, file: FileRows, splits: Sequence[str]) -> Set:
    """Returns the record of one file, data set of the hub, or built-in set.

    Args:
      path: None for rows that are built in.
      splits: those that it is in.
    """
    said = file.declared
    if said and "train" in splits and said.use != "train":
        raise UserError(
            f"{said.where}: use: found {shown(said.use)}, and {path} would be trained on; pass "
            f'--config.task.test_only=true to test on all of it, or declare use = "train"'
        )
    name = said.name if said else Path(path).name if path and not hub.parse(path) else path or config.name
    own = said._asdict() if said else {}
    return {
        "name": name,
        "splits": list(splits),
        "licence": _unless_own(licence_of(config, file)),
        "source": _source(config, path, file),
        "citation": _unless_own(citation_of(config, file)),
    } | {key: own[key] for key in ("version", "personal_data", "collected", "where") if key in own}


def of_mixture(named: dict[str, Sequence[Set]], trained: Sequence[str]) -> list[Set]:
    """Returns the records of a mixture: sources that are not trained on are in the test rows alone."""
    out = []
    for source, sets in named.items():
        for one in sets:
            splits = [s for s in one["splits"] if s == "test" or source in trained]
            out.append(one | {"name": f"{source}: {one['name']}", "splits": splits})
    return out
