"""Downloads the released Scruples archives once over https, with a size limit, hashes them, and unpacks the splits."""

import gzip
import shutil
import ssl
import tarfile
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from moral_jax.runtime.files import cache_folder, sha256
from moral_jax.tasks.tables import CAP_BYTES
from moral_jax.types import UserError

BASE = "https://storage.googleapis.com/ai2-mosaic-public/projects/scruples/v1.0/data"
CHUNK = 2**20
AGAIN = "delete it to fetch it again"


class Released(NamedTuple):
    """A released archive, and for each split its file names: as released, and as in the authors' repository."""

    archive: str
    files: dict[str, tuple[str, str]]


DILEMMAS = Released(
    "dilemmas.tar.gz",
    {s: (f"{s}.scruples-dilemmas.jsonl", f"{s}.scruples-actions.jsonl") for s in ("train", "dev", "test")},
)
ANECDOTES = Released(
    "anecdotes.tar.gz",
    {s: (f"{s}.scruples-anecdotes.jsonl", f"{s}.scruples-corpus.jsonl") for s in ("train", "dev", "test")},
)


def download(url: str, target: Path) -> None:
    """Downloads a file over https to a temporary name, which becomes `target` at the end.

    Raises:
      ValueError: the URL is not https.
      UserError: the server redirects to another scheme, or sends more than CAP_BYTES.
    """
    if not url.startswith("https://"):
        raise ValueError(f"{url}: only https is fetched")
    partial = target.with_name(target.name + ".partial")
    try:
        with urllib.request.urlopen(url, timeout=30) as reply, partial.open("wb") as out:
            if not reply.url.startswith("https://"):
                raise UserError(f"{url}: redirects to {reply.url}; only https is fetched")
            with tqdm(total=reply.length or None, unit="B", unit_scale=True, desc=target.name) as bar:
                received = 0
                while block := reply.read(CHUNK):
                    received += len(block)
                    if received > CAP_BYTES:
                        raise UserError(f"{url}: larger than {CAP_BYTES} bytes, so it is not the expected archive")
                    out.write(block)
                    bar.update(len(block))
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


class Capped:
    """A stream that raises UserError after CAP_BYTES, because a small archive can unpack to any size."""

    def __init__(self, stream: gzip.GzipFile, name: Path):
        self._stream, self._name, self._given = stream, name, 0

    def read(self, size: int) -> bytes:
        block = self._stream.read(size)
        self._given += len(block)
        if self._given > CAP_BYTES:
            raise UserError(f"{self._name}: unpacks to more than {CAP_BYTES} bytes; {AGAIN}")
        return block


def _members(tar: tarfile.TarFile, archive: Path, released: Released, folder: Path) -> dict[str, Path]:
    """Unpacks the split files in an archive and returns {split: path}, under the released names."""
    paths: dict[str, Path] = {}
    wanted = {name: split for split, names in released.files.items() for name in names}
    for member in tar:
        split = wanted.get(Path(member.name).name)
        if split is None or not member.isfile():
            continue
        if member.size > CAP_BYTES:  # a sparse member takes little space in the archive
            raise UserError(f"{archive}: member {member.name!r} is larger than {CAP_BYTES} bytes; {AGAIN}")
        target = folder / released.files[split][0]
        content = tar.extractfile(member)
        assert content is not None, "a regular file"
        with target.open("wb") as out:
            shutil.copyfileobj(content, out)
        paths[split] = target
    return paths


def extract(archive: Path, released: Released, folder: Path) -> dict[str, Path]:
    """Unpacks only the split files and returns {split: path}.

    Files are written under their released names; the path of an archive member is never used.

    Raises:
      UserError: the archive is damaged or too large, or a split is missing.
    """
    try:
        with gzip.open(archive) as packed:
            unpacked = Capped(packed, archive)
            # the stub asks for write, tell and seek; of a stream, tarfile only calls read
            with tarfile.open(fileobj=unpacked, mode="r|") as tar:  # type: ignore[call-overload]
                paths = _members(tar, archive, released, folder)
            while unpacked.read(CHUNK):  # read to the end, where the checksum is verified
                pass
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, ValueError, zlib.error) as e:
        raise UserError(f"{archive}: not a readable archive ({e}); {AGAIN}") from e
    if missing := set(released.files) - set(paths):
        raise UserError(f"{archive}: holds no {released.files[min(missing)][0]!r}; {AGAIN}")
    return paths


def fetch(released: Released) -> tuple[dict[str, Path], dict[str, str]]:
    """Returns the path of each split, and {archive name: sha256} for the run's record.

    Raises:
      UserError: the archive cannot be downloaded, is damaged or too large, or lacks a split.
    """
    folder = cache_folder() / "scruples" / "v1.0"
    folder.mkdir(parents=True, exist_ok=True)
    archive, url = folder / released.archive, f"{BASE}/{released.archive}"
    if not archive.exists():
        try:
            download(url, archive)
        except (urllib.error.URLError, TimeoutError, ConnectionError, ssl.SSLError) as e:
            raise UserError(
                f"{url}: could not be fetched ({getattr(e, 'reason', e)}). Fetch and unpack it elsewhere, then pass "
                f"--config.task.path={released.files['train'][0]}, --config.task.validation_path="
                f"{released.files['dev'][0]} and --config.task.test_path={released.files['test'][0]} "
                f"(or pass only --config.task.path, which is then divided)"
            ) from e
    return extract(archive, released, folder), {released.archive: sha256(archive)}
