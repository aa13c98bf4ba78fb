"""Reads a data set of the Hugging Face hub, named OWNER/NAME[@REVISION][/CONFIG][:SPLIT]."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import huggingface_hub
from huggingface_hub import errors as hub_errors

from moral_jax.runtime import hub
from moral_jax.runtime.files import expanded
from moral_jax.tasks.tables import PACKED, kind_of
from moral_jax.types import UserError

NAME = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w.-]+))?(?:/([\w.+-]+))?(?::([\w.+-]+(?:\[[\w:%]+\])?))?")


class HubName(NamedTuple):
    """A data set of the hub."""

    repo: str
    revision: str | None
    config: str | None
    split: str

    def __str__(self) -> str:
        at = f"@{self.revision}" if self.revision else ""
        return f"{self.repo}{at}{f'/{self.config}' if self.config else ''}:{self.split}"


class HubRows(NamedTuple):
    """Memory-mapped rows of a data set, the commit that they are of, and the licence that its card names."""

    rows: Iterable[dict[str, Any]]
    commit: str | None
    licence: str | None


def parse(path: str) -> HubName | None:
    """Returns the data set that a path names; None if it is the name of a local file, whether that exists or not."""
    match, local = NAME.fullmatch(path), expanded(path)
    is_local = local.exists() or kind_of(local) or local.suffix in PACKED or path.startswith((".", "~", "/"))
    if match is None or is_local:
        return None
    repo, revision, config, split = match.groups()
    return HubName(repo, revision, config, split or "train")


def _card(name: HubName) -> tuple[str | None, str | None]:
    """Returns commit and licence; None for what the hub, or its cache where there is no network, does not say."""
    try:
        info = huggingface_hub.HfApi().dataset_info(name.repo, revision=name.revision, timeout=20)
    except (hub_errors.HTTPError, OSError, ValueError):
        return name.revision, None
    licence = getattr(info.card_data, "license", None) if info.card_data else None
    return info.sha, ", ".join(licence) if isinstance(licence, list) else licence


def load(name: HubName, setting: str = "task.path", flag: str = "--config.task.path") -> HubRows:
    """Downloads a split once into the cache of `datasets`, and maps it into memory.

    Args:
      setting: what named it.
      flag: what a file in its place is passed as.

    Raises:
      UserError: there is no such data set, revision, config or split; it is gated; or the hub cannot be reached.
    """
    import datasets  # two seconds, which local text files need not wait for

    commit, licence = _card(name)
    named, page = f"{setting}={str(name)!r}", f"https://huggingface.co/datasets/{name.repo}"
    remedy = f"download a file of it elsewhere and pass {flag}=FILE"
    with hub.explained(named, page, remedy, (datasets.exceptions.DatasetsError,)):
        try:
            rows = datasets.load_dataset(name.repo, name.config, split=name.split, revision=commit or name.revision)
        except hub_errors.GatedRepoError:
            raise
        except (ValueError, hub_errors.HFValidationError) as e:
            names = re.findall(r"\[[^\[\]]{1,300}\]", str(e))  # the configs or splits that there are
            known = f"; there are {names[-1]}" if names else ""
            raise UserError(f"{named}: no such config or split{known}") from None
        except datasets.exceptions.DatasetNotFoundError:
            raise UserError(f"{named}: neither a local file or folder nor a data set of the hub") from None
    return HubRows(rows, commit, licence)
