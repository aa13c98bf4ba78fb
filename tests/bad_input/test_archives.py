"""Tests released archives: the paths and contents that they unpack to."""

import gzip
import io
import tarfile

import pytest

from moral_jax.tasks import archive
from moral_jax.types import UserError
from tests.bad_input.refusal import Case, each
from tests.tasks.test_archive import SPLITS, pack


def tar(members, packed=True):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz" if packed else "w") as made:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = b"" if isinstance(content, tarfile.TarInfo) else content
            info.size = info.size or len(data)
            made.addfile(info, io.BytesIO(data))
    return out.getvalue()


def entry(name, kind, **fields):
    info = tarfile.TarInfo(name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info


DEV = "dilemmas/dev.scruples-dilemmas.jsonl"
LINK = entry(DEV, tarfile.SYMTYPE, linkname="/etc/passwd")
HARD = entry(DEV, tarfile.LNKTYPE, linkname="../../../../etc/passwd")
GOOD = tar(SPLITS)
CASES = (
    Case("empty", b"", "dilemmas.tar.gz: not a readable archive", "delete it to fetch it again"),
    Case("no archive", b"not an archive", "dilemmas.tar.gz: not a readable archive", "delete it to fetch it again"),
    Case("a page that says no", b"<html>404</html>", "not a readable archive", "delete it to fetch it again"),
    Case("cut", GOOD[: len(GOOD) // 2], "not a readable archive", "delete it to fetch it again"),
    Case("damaged", GOOD[:40] + b"\xff" * 20 + GOOD[60:], "not a readable archive", "delete it to fetch it again"),
    Case("packed, but no tar", gzip.compress(b"x" * 2000), "not a readable archive", "delete it to fetch it again"),
    Case("not packed", tar(SPLITS, packed=False), "not a readable archive", "delete it to fetch it again"),
    Case("a checksum that is wrong", GOOD[:-8] + b"abcdefgh", "not a readable archive", "delete it to fetch it again"),
    Case("a split missing", tar({k: v for k, v in SPLITS.items() if "dev" not in k}), "holds no 'dev.", "again"),
    Case("a link to the passwords", tar(SPLITS | {DEV: LINK}), "holds no 'dev.scruples-dilemmas.jsonl'", "again"),
    Case("a hard link to them", tar(SPLITS | {DEV: HARD}), "holds no 'dev.scruples-dilemmas.jsonl'", "again"),
    Case("a pipe", tar(SPLITS | {DEV: entry(DEV, tarfile.FIFOTYPE)}), "holds no 'dev.", "again"),
    Case(
        "a device", tar(SPLITS | {DEV: entry(DEV, tarfile.CHRTYPE, devmajor=1, devminor=5)}), "holds no 'dev.", "again"
    ),
    Case("a folder", tar(SPLITS | {DEV: entry(DEV, tarfile.DIRTYPE)}), "holds no 'dev.", "again"),
    Case("a bomb in a split", tar(SPLITS | {DEV: b"0" * 2_000_000}), "is larger than 1000000 bytes", "again"),
    Case("a bomb beside them", tar({"zeros": b"0" * 2_000_000} | SPLITS), "unpacks to more than 1000000", "again"),
    Case("ways out", tar({f"../../{k}": b"{" for k in SPLITS}), ".scruples-dilemmas.jsonl:1", "not valid JSON"),
)


@pytest.mark.fault(
    "archives that are damaged, lead out of their folder or never end", promise="one message; no file elsewhere"
)
@each(CASES)
def test_archives(case, refused, config_of, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "CAP_BYTES", 1_000_000)
    folder = tmp_path / "cache" / "scruples" / "v1.0"
    folder.mkdir(parents=True)
    (folder / "dilemmas.tar.gz").write_bytes(case.given)
    refused(case, "baseline", "prior", config_of("dilemmas"), f"--workdir={tmp_path / 'r'}", run=folder)
    assert {p.name for p in folder.iterdir()} <= {"dilemmas.tar.gz", *(f[0] for f in archive.DILEMMAS.files.values())}
    assert not any(p.is_symlink() or not p.is_file() for p in folder.iterdir())


def test_a_redirect_to_http_is_refused(tmp_path, monkeypatch):
    class Reply(io.BytesIO):
        length, url = None, "http://example.org/x"

    monkeypatch.setattr(archive.urllib.request, "urlopen", lambda url, timeout: Reply(b"x"))
    with pytest.raises(UserError, match="redirects to http://example.org/x; only https is fetched"):
        archive.download("https://example.org/x", tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_the_archive_that_the_others_are_changes_of(tmp_path):
    found = archive.extract(pack(tmp_path / "a.tar.gz", SPLITS), archive.DILEMMAS, tmp_path)
    assert set(found) == {"train", "dev", "test"}
