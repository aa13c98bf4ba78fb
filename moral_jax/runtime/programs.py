"""Functions of a user's file, FILE.py:FUNCTION. They are run: only a user names them, never a file from elsewhere."""

import contextlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from moral_jax.runtime.files import expanded, sha256
from moral_jax.types import UserError

PROGRAM = re.compile(r"\.py:\w+$")


def is_program(name: str) -> bool:
    """Returns true for the name of a function of a file."""
    return PROGRAM.search(name) is not None


@contextlib.contextmanager
def running(setting: str) -> Iterator[None]:
    """Turns whatever a user's code raises into a UserError that names the setting; a UserError passes."""
    try:
        yield
    except UserError:
        raise
    except Exception as e:  # whatever the user's code raises
        raise UserError(f"{setting}: {type(e).__name__}: {e}") from e


def load(name: str, setting: str, folder: Path = Path()) -> tuple[Callable[..., Any], str]:
    """Returns a function, and the hash of its file.

    Args:
      name: FILE.py:FUNCTION.
      setting: that names it, for errors.
      folder: what the path is relative to.

    Raises:
      UserError: the file is missing, cannot be imported, or has no such function.
    """
    path, _, function = name.rpartition(":")
    file = folder / expanded(path)
    if not file.is_file():
        raise UserError(f"{setting}: {path} is no file")
    spec = importlib.util.spec_from_file_location(f"program_{file.stem}", file)
    assert spec is not None, "a file that ends in .py"
    assert spec.loader is not None, "a file that ends in .py"
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and others look for it there
    try:
        spec.loader.exec_module(module)
    except Exception as e:  # whatever the user's code raises
        raise UserError(f"{setting}: {path} cannot be imported ({type(e).__name__}: {e})") from e
    found = getattr(module, function, None)
    if not callable(found):
        raise UserError(f"{setting}: {path} has no function {function!r}")
    return found, sha256(file)
