"""Where a run may read and write: local paths that every library takes as we do, and that hold no secret. No jax."""

import os
import re
from pathlib import Path

from moral_jax.runtime import secrets
from moral_jax.types import UserError

# of gs://bucket/runs, which `Path` makes gs:/bucket/runs; package:NAME/FILE and run:DIR are a model's places
ADDRESS = re.compile(r"(?!(?:package|run):)[a-z][a-z0-9+.-]+:/", re.I)


def check_local(setting: str, path: str | Path | None) -> None:
    """Refuses the address of a bucket or of a page, an empty path, and one that holds a secret.

    Args:
      setting: what holds the path, for the message.

    Raises:
      UserError: it is no local path, or would be written down with a secret.
    """
    secrets.refuse(setting, str(path))
    if path == "":
        raise UserError(
            f"{setting}=: is empty; name a path, or leave the flag out (was a variable of the shell unset?)"
        )
    if found := ADDRESS.match(str(path)):
        raise UserError(
            f"{setting}={found[0]}/...: is an address; files are read and written on local paths only. Mount the "
            f"bucket, as ./tpu_setup.sh does at ~/bucket, and name the path there"
        )


def check_new(flag: str, folder: Path) -> None:
    """Raises UserError for a folder that exists and holds something, or for a file, so that nothing is lost."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{flag}={folder}: exists already; name a new folder, so that nothing is lost")


def check_workdir(folder: Path) -> None:
    """Refuses a directory in which a run could not end, before it begins.

    Raises:
      UserError: names the directory, what is wrong with it, and the remedy.
    """
    check_local("--workdir", folder)
    secrets.refuse("--workdir", folder.absolute().name)
    whole = str(folder.absolute())
    if "\\" in whole:
        raise UserError(f"--workdir={folder}: holds a backslash, which TensorStore takes for a slash; name another")
    if whole != os.fsencode(whole).decode("utf-8", errors="replace"):
        raise UserError(f"--workdir={whole!a}: is not UTF-8, as a page must be; name another")
    if folder.is_symlink() and not folder.exists():
        target = folder.readlink()
        raise UserError(f"--workdir={folder}: is a link to {target}, which is not there; make it, or name another")
