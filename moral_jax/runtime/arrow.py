"""Tables that are larger than the memory: one Arrow file each, which `datasets` maps into memory. No jax."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any


def read(file: Path) -> Any:
    """Returns the `datasets.Dataset` of a file, mapped into memory."""
    import datasets

    return datasets.Dataset.from_file(str(file))


def write(file: Path, features: dict[str, Any], rows: Iterable[dict[str, Any]]) -> None:
    """Writes rows as they come; a file that exists is therefore complete. One process at a time: take a lock.

    Args:
      features: the type of each column, as `datasets.Features` takes them.
    """
    import datasets
    from datasets.arrow_writer import ArrowWriter

    partial = file.with_suffix(".partial")
    with ArrowWriter(features=datasets.Features(features), path=str(partial), writer_batch_size=1000) as writer:
        for row in rows:
            writer.write(row)
        writer.finalize()
    partial.replace(file)
