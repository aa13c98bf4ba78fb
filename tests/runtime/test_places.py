"""Where runs may lie: refused before anything is computed there."""

import os
from pathlib import Path

import pytest

from moral_jax.config.model import ModelConfig
from moral_jax.runtime import files, places
from moral_jax.types import UserError


@pytest.mark.parametrize("path", ["gs://bucket/runs/a", "s3://bucket/a", "GS://b", "https://host/a", "hdfs://h/a"])
@pytest.mark.fault("gs:// and other addresses in the place of a path", promise="refused at once: mount the bucket")
def test_an_address_is_no_path(path):
    for given in (path, Path(path)):
        with pytest.raises(UserError, match=r"config.task.path=\w+://\.\.\.: is an address; .* Mount the bucket"):
            places.check_local("config.task.path", given)
        with pytest.raises(UserError, match="--workdir=.*: is an address"):
            places.check_workdir(Path(path))


def test_an_empty_path_is_a_mistake_of_the_shell():
    with pytest.raises(UserError, match="--config.model.path=: is empty; name a path, or leave the flag out"):
        ModelConfig(path="")


@pytest.mark.parametrize(
    "path",
    [None, "runs/a", "/mnt/bucket", "package:llm/model.gguf", "package:/etc/passwd", "owner/model@main", "a:b", "C:/a"],
)
def test_paths_are(path):
    places.check_local("config.model.path", path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a\\b", "holds a backslash"),
        (os.fsdecode(b"a\xff"), "is not UTF-8"),
        ("key-s3cr3t-value", "the value of .MY_KEY"),
    ],
)
@pytest.mark.fault(
    "a run directory whose name TensorStore or a page cannot write, or that holds a key",
    promise="refused before anything is computed",
)
def test_a_directory_in_which_no_run_could_end(name, message, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", "s3cr3t-value")
    with pytest.raises(UserError, match=f"(?s)--workdir.*{message}"):
        places.check_workdir(tmp_path / name)
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    with pytest.raises(UserError, match=message):
        places.check_workdir(Path("."))


@pytest.mark.fault(
    "a run directory that is a link to nothing", promise="refused before anything is computed, naming where it leads"
)
def test_a_link_that_leads_nowhere(tmp_path):
    (tmp_path / "r").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match="r: is a link to .*gone, which is not there"):
        places.check_workdir(tmp_path / "r")
    (tmp_path / "gone").mkdir()
    places.check_workdir(tmp_path / "r")


@pytest.mark.fault(
    "a user without a home", promise="MORAL_JAX_CACHE is enough; without it one message that says to set it"
)
def test_the_cache_needs_no_home_where_it_is_named(monkeypatch):
    """A user without a home, as in containers and batch systems."""

    def no_home(*_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("MORAL_JAX_CACHE", "here")
    assert files.cache_folder() == Path("here")
    monkeypatch.delenv("MORAL_JAX_CACHE")
    with pytest.raises(UserError, match="no home; set HOME, or MORAL_JAX_CACHE=FOLDER"):
        files.cache_folder()
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert files.cache_folder() == Path("/x/moral_jax")
