"""The released archives: what is fetched, unpacked and refused. No network is used."""

import io
import tarfile
import urllib.error

import pytest

from moral_jax.config.task import TaskConfig
from moral_jax.runtime import files
from moral_jax.tasks import archive, load
from moral_jax.types import UserError
from tests.tasks.test_scruples import dilemma, write


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MORAL_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def pack(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
    return path


SPLITS = {f"dilemmas/{s}.scruples-dilemmas.jsonl": s.encode() for s in ("train", "dev", "test")}


class Reply(io.BytesIO):
    length, url = None, "https://example.org"


def serve(monkeypatch, content: bytes):
    monkeypatch.setattr(archive.urllib.request, "urlopen", lambda url, timeout: Reply(content))


def test_unpacks_to_names_of_ours(tmp_path):
    tar = pack(tmp_path / "a.tar.gz", {"../../evil.sh": b"x", **SPLITS})
    out = tmp_path / "out"
    out.mkdir()
    found = archive.extract(tar, archive.DILEMMAS, out)
    assert {s: p.read_bytes() for s, p in found.items()} == {"train": b"train", "dev": b"dev", "test": b"test"}
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in found.values())
    assert not (tmp_path.parent / "evil.sh").exists()


def test_takes_the_repositorys_names_too(tmp_path):
    members = {f"{s}.scruples-actions.jsonl": b"x" for s in ("train", "dev", "test")}
    assert set(archive.extract(pack(tmp_path / "a.tar.gz", members), archive.DILEMMAS, tmp_path)) == {
        "train",
        "dev",
        "test",
    }


def test_links_are_not_followed(tmp_path):
    members = SPLITS | {"dilemmas/dev.scruples-dilemmas.jsonl": "/etc/passwd"}
    with pytest.raises(UserError, match="holds no 'dev.scruples-dilemmas.jsonl'"):
        archive.extract(pack(tmp_path / "a.tar.gz", members), archive.DILEMMAS, tmp_path)


def test_a_broken_archive_is_named(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(b"not an archive")
    with pytest.raises(UserError, match="a.tar.gz: not a readable archive"):
        archive.extract(tmp_path / "a.tar.gz", archive.DILEMMAS, tmp_path)


def test_a_size_cap(monkeypatch, tmp_path):
    monkeypatch.setattr(archive, "CAP_BYTES", 100)
    serve(monkeypatch, b"x" * 101)
    with pytest.raises(UserError, match="larger than 100 bytes"):
        archive.download("https://example.org/a.tar.gz", tmp_path / "a.tar.gz")
    assert list(tmp_path.iterdir()) == []


def test_only_https(tmp_path):
    with pytest.raises(ValueError, match="only https"):
        archive.download("http://example.org/a.tar.gz", tmp_path / "a.tar.gz")


def test_fetched_once_hashed_and_divided_as_released(monkeypatch, cache, tmp_path):
    rows = {s: write(tmp_path / s, dilemma(s)).read_bytes() for s in ("train", "dev", "test")}
    tar = pack(tmp_path / "a.tar.gz", {f"dilemmas/{s}.scruples-dilemmas.jsonl": r for s, r in rows.items()})
    serve(monkeypatch, tar.read_bytes())
    data = load.load(TaskConfig(name="dilemmas"))
    assert [e.id for side in (data.train, data.validation, data.test) for e in side] == ["train", "dev", "test"]
    assert data.provenance["sha256"] == {"dilemmas.tar.gz": files.sha256(tar)}

    def gone(*_, **__):
        raise AssertionError("fetched twice")

    monkeypatch.setattr(archive.urllib.request, "urlopen", gone)
    assert load.load(TaskConfig(name="dilemmas")).provenance == data.provenance


def test_without_a_network_file_and_flag_are_named(monkeypatch, cache):
    def refuse(*_, **__):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(archive.urllib.request, "urlopen", refuse)
    with pytest.raises(UserError, match=r"dilemmas.tar.gz.*--config.task.path=train.scruples-dilemmas.jsonl"):
        load.load(TaskConfig(name="dilemmas"))
    assert not list(cache.rglob("*.partial"))
