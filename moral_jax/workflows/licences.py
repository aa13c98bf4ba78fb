"""Lists what a run was made with, and lets nobody publish by oversight what a licence forbids."""

from collections.abc import Sequence
from pathlib import Path

from moral_jax.report.words import markdown
from moral_jax.runs.directory import RunDirectory
from moral_jax.runs.results import RUN, Results
from moral_jax.types import UserError
from moral_jax.workflows import card, documents


def _used(folder: Path, data: Path | None, base_licence: str | None) -> tuple[list[documents.Used], bool]:
    """Returns what a directory was made with, and whether it has weights of its own."""
    results = Results(folder)
    is_trained = results.kind == RUN and RunDirectory(folder).is_trained
    return documents.collect(results, data, base_licence), is_trained


def listed(folder: Path, data: Path | None, base_licence: str | None) -> str:
    """Returns the list and the obligations, as text; arguments and errors as of `documents.collect`."""
    used, is_trained = _used(folder, data, base_licence)
    asked = card.obligations_table(used)
    parts = [markdown(card.used_table(used))]
    if asked.rows:
        parts.append(f"Asked of whoever publishes the weights:\n\n{markdown(asked)}")
    parts.append(card.publishing(used, documents.accepted(folder), is_trained=is_trained))
    return "\n\n".join([*parts, "This is bookkeeping, not legal advice."])


def publish(folder: Path, data: Path | None, base_licence: str | None, names: Sequence[str]) -> str:
    """Notes what a person accepts by name; returns that the weights may be published.

    Raises:
      UserError: a licence forbids it, or is unknown, and was not accepted; or there are no weights.
    """
    used, is_trained = _used(folder, data, base_licence)
    if not is_trained:
        raise UserError(f"{folder}: has trained no weights, so there is nothing to publish")
    by_name = documents.accept(folder, used, names)
    if refused := documents.left(used, by_name):
        why = "; ".join(f"{o.name} ({o.use}): {o.known.said} is {', '.join(o.known.forbidding)}" for o in refused)
        flags = " ".join(f"--accept={o.name!r}" if " " in o.name else f"--accept={o.name}" for o in refused)
        raise UserError(f"{folder}: publishing is refused. {why}. If you may all the same, say so by name: {flags}")
    return f"May be published, as far as {folder / documents.LICENCES} knows."
