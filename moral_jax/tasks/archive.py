"""The released Scruples archives: fetched once over https, size-capped, hashed, and unpacked name by name."""

import gzip
import shutil
import ssl
import tarfile
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tqdm import tqdm

from moral_jax.runtime.files import cache_folder, sha256
from moral_jax.tasks.rows import CAP_BYTES
from moral_jax.types import UserError

BASE = "https://storage.googleapis.com/ai2-mosaic-public/projects/scruples/v1.0/data"
CHUNK = 2**20
AGAIN = "delete it to fetch it again"


class Released(NamedTuple):
    """An archive and the file of each split, under the released and the repository's own name."""

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
    """Fetches https only, to a temporary name first, and gives up past CAP_BYTES."""
    if not url.startswith("https://"):
        raise ValueError(f"{url}: only https is fetched")
    partial = target.with_name(target.name + ".partial")
    try:
        with urllib.request.urlopen(url, timeout=30) as reply, partial.open("wb") as out:
            if not reply.url.startswith("https://"):
                raise UserError(f"{url}: leads to {reply.url}; only https is fetched")
            with tqdm(total=reply.length or None, unit="B", unit_scale=True, desc=target.name) as bar:
                done = 0
                while block := reply.read(CHUNK):
                    done += len(block)
                    if done > CAP_BYTES:
                        raise UserError(f"{url}: larger than {CAP_BYTES} bytes; not the archive that is expected")
                    out.write(block)
                    bar.update(len(block))
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


class Capped:
    """A stream that refuses to give more than CAP_BYTES: small archives can unpack to anything."""

    def __init__(self, stream: BinaryIO, name: Path):
        self._stream, self._name, self._given = stream, name, 0

    def read(self, size: int) -> bytes:
        block = self._stream.read(size)
        self._given += len(block)
        if self._given > CAP_BYTES:
            raise UserError(f"{self._name}: unpacks to more than {CAP_BYTES} bytes; {AGAIN}")
        return block


def _members(tar: tarfile.TarFile, archive: Path, released: Released, folder: Path) -> dict[str, Path]:
    """The split files that an archive has, each under a name of ours."""
    found: dict[str, Path] = {}
    wanted = {name: split for split, names in released.files.items() for name in names}
    for member in tar:
        split = wanted.get(Path(member.name).name)
        if split is None or not member.isfile():
            continue
        if member.size > CAP_BYTES:  # of a sparse one, little of it in the archive
            raise UserError(f"{archive}: member {member.name!r} is larger than {CAP_BYTES} bytes; {AGAIN}")
        target = folder / released.files[split][0]
        with target.open("wb") as out:
            shutil.copyfileobj(tar.extractfile(member), out)
        found[split] = target
    return found


def extract(archive: Path, released: Released, folder: Path) -> dict[str, Path]:
    """Unpacks just the split files, each to a name of ours: a member's own path is never used."""
    try:
        with gzip.open(archive) as packed:
            unpacked = Capped(packed, archive)
            with tarfile.open(fileobj=unpacked, mode="r|") as tar:
                found = _members(tar, archive, released, folder)
            while unpacked.read(CHUNK):  # to its end, where its checksum is
                pass
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, ValueError, zlib.error) as e:
        raise UserError(f"{archive}: not a readable archive ({e}); {AGAIN}") from e
    if missing := set(released.files) - set(found):
        raise UserError(f"{archive}: holds no {released.files[min(missing)][0]!r}; {AGAIN}")
    return found


def fetch(released: Released) -> tuple[dict[str, Path], dict[str, str]]:
    """Returns the path of each split, and {archive name: sha256} for the run's record.

    Raises:
      UserError: there is no network, or the archive is not what it should be.
    """
    folder = cache_folder() / "scruples" / "v1.0"
    folder.mkdir(parents=True, exist_ok=True)
    archive, url = folder / released.archive, f"{BASE}/{released.archive}"
    if not archive.exists():
        try:
            download(url, archive)
        except (urllib.error.URLError, TimeoutError, ConnectionError, ssl.SSLError) as e:
            raise UserError(
                f"{url} could not be fetched ({getattr(e, 'reason', e)}). Fetch and unpack it elsewhere, then pass "
                f"--config.task.path={released.files['train'][0]}, --config.task.validation_path="
                f"{released.files['dev'][0]} and --config.task.test_path={released.files['test'][0]} "
                f"(or one of them as --config.task.path, which is then divided)"
            ) from e
    return extract(archive, released, folder), {released.archive: sha256(archive)}
