"""Finds the licence that a model states beside its weights, without a network."""

from pathlib import Path

from huggingface_hub.repocard import metadata_load

from moral_jax.types import UserError
from moral_jax.weights import gguf_header, source

README = "README.md"
GGUF_LICENCE = "general.license"


def of_files(path: Path) -> str | None:
    """Returns the licence of a model's folder (the front matter of its README.md) or of a GGUF file (its header), as it
    stands there; None if nothing is stated."""
    if path.is_file() and path.suffix == ".gguf":
        found = gguf_header.read(path)[0].get(GGUF_LICENCE)
        return found if isinstance(found, str) and found.strip() else None
    card = path / README
    if not card.is_file():
        return None
    try:
        front = metadata_load(card) or {}
    except Exception:  # whatever a stranger's YAML raises: a card that cannot be read states nothing
        return None
    names = front.get("license")
    if names == "other" and isinstance(front.get("license_name"), str):
        names = front["license_name"]
    said = [name for name in (names if isinstance(names, list) else [names]) if isinstance(name, str) and name.strip()]
    return ", ".join(said) or None


def of_model(name: str) -> str | None:
    """Returns the licence of `model.path`, if its files are on this machine; None otherwise, and if none is stated."""
    if source.is_hub_name(name):
        return None
    try:
        return of_files(source.resolve(name))
    except UserError:  # no longer there
        return None
