"""Folders and files that somebody else made: what is not as it should be is refused, by name."""

import ast
import json
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import save_file

from moral_jax.config import Config
from moral_jax.respondents.encode import ModelFiles
from moral_jax.types import UserError
from moral_jax.weights import hf, load
from moral_jax.workflows import provenance
from tests.helpers import tiny
from tests.weights import by_hand

SPEC = tiny.spec(tied_embeddings=False)
ROOT = Path(__file__).resolve().parents[2]
TWO = {"a": ("F32", (2, 3)), "b": ("F32", (4,))}


@pytest.fixture
def folder(tmp_path):
    out = tmp_path / "model"
    out.mkdir()
    (out / "config.json").write_text(json.dumps(tiny.hf_config(SPEC)))
    save_file(tiny.hf_tensors(SPEC, tiny.params(tiny.model(SPEC))["decoder"]), out / "model.safetensors")
    return out


def change(name, **fields):
    head = by_hand.header(TWO)
    return head | {name: head[name] | fields}


def twice() -> bytes:
    text = json.dumps(by_hand.header(TWO))
    return (text[:-1] + ', "a"' + text[4:]).encode()


@pytest.mark.parametrize(
    ("head", "data", "said", "message"),
    [
        (change("a"), 40, 1 << 40, "a header of 1099511627776 bytes"),
        (change("a"), 40, 100_000_001, "a header of 100000001 bytes"),
        (change("a"), 40, 0, "a header of 0 bytes"),
        (change("a"), 40, 5000, "not valid JSON"),
        (change("a"), 39, None, "not a readable safetensors file"),
        (change("a"), 41, None, "not a readable safetensors file"),
        (change("b", data_offsets=[8, 24]), 24, None, "not a readable safetensors file.*`b`"),
        (change("b", data_offsets=[0, 16]), 40, None, "not a readable safetensors file.*`[ab]`"),
        (change("b", data_offsets=[28, 44]), 44, None, "not a readable safetensors file.*`b`"),
        (change("b", data_offsets=[24, 1 << 50]), 40, None, "not a readable safetensors file"),
        (change("b", data_offsets=[-16, 0]), 40, None, "not a readable safetensors file"),
        (change("b", shape=[5]), 40, None, "not a readable safetensors file"),
        (change("b", shape=[1 << 62, 1 << 62]), 40, None, "not a readable safetensors file"),
        (change("b", dtype="F77"), 40, None, "tensor 'b' is of type 'F77'; F32, F16, BF16 are read"),
        (change("b", dtype="F8_E4M3"), 40, None, "tensor 'b' is of type 'F8_E4M3'"),
        (change("b", dtype=["F32"]), 40, None, "tensor 'b' is of type"),
        (by_hand.header(TWO) | {"b": 7}, 40, None, "tensor 'b' is of type None"),
        (twice(), 40, None, "the key 'a' appears twice"),
        (b"[1, 2]", 0, None, "expected a JSON object"),
        (b"[" * 100_000, 0, None, "not valid JSON"),
        (b'{"a": ' + b"1" * 5000 + b"}", 0, None, "not valid JSON"),
        (b"\xff\xfe", 0, None, "not valid JSON"),
    ],
)
def test_headers(tmp_path, head, data, said, message):
    by_hand.write(tmp_path / "model.safetensors", head, data, said)
    with pytest.raises(UserError, match=f"model.safetensors: .*{message}"):
        hf.SafetensorsFolder(tmp_path)


def test_the_header_that_the_others_are_changes_of(tmp_path):
    by_hand.write(tmp_path / "model.safetensors", by_hand.header(TWO), 40)
    assert hf.SafetensorsFolder(tmp_path).shape("a") == (2, 3)


def test_an_empty_file(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(UserError, match="model.safetensors: not a readable safetensors file"):
        hf.SafetensorsFolder(tmp_path)


@pytest.mark.parametrize("cut", [4, 100, 20_000])
def test_a_file_cut_short(folder, cut):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(UserError, match="model.safetensors: "):
        hf.SafetensorsFolder(folder)  # before anything is read


A, B = {"a": ("F32", (2,))}, {"b": ("F32", (2,))}


def index(folder, weight_map, **files):
    for file, tensors in files.items():
        by_hand.write(folder / f"{file}.safetensors", by_hand.header(tensors), 8 * len(tensors))
    text = weight_map if isinstance(weight_map, str) else json.dumps({"weight_map": weight_map})
    (folder / hf.INDEX).write_text(text)


@pytest.mark.parametrize("weight_map", [{"a": "x.safetensors"}, {"a": "x.safetensors", "b": "y.safetensors"}])
def test_an_index(tmp_path, weight_map):
    index(tmp_path, weight_map, x=A, y=B)
    assert hf.SafetensorsFolder(tmp_path).names() == set(weight_map)


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"a": "y.safetensors"}, r"y.safetensors: the index promises tensor 'a', the file does not hold it"),
        ({"b": "z.safetensors"}, r"tensor 'b' lies in 'z.safetensors', which is not in"),
        ({"a": "x.safetensors", "b": "both.safetensors"}, r"both.safetensors: holds tensor 'a', which .* puts into 'x"),
        ({"b": "both.safetensors"}, r"both.safetensors: holds tensor 'a', which .* does not list"),
        ({"a": "x\0.safetensors"}, "only plain file names"),
        ({"a": "pytorch_model.bin"}, "points to 'pytorch_model.bin'; only .safetensors files are read"),
        ({"a": "model.pt"}, "only .safetensors files are read"),
        ({"a": ["x.safetensors"]}, "only plain file names"),
        ([], "expected an object under 'weight_map'"),
        ('{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}', "the key 'a' appears twice"),
    ],
)
def test_indices_that_files_contradict(tmp_path, weight_map, message):
    index(tmp_path, weight_map, x=A, y=B, both=A | B)
    with pytest.raises(UserError, match=message):
        hf.SafetensorsFolder(tmp_path)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_links_that_leave_the_folder(folder, tmp_path, file):
    (folder / file).rename(tmp_path / "elsewhere")
    (folder / file).symlink_to(Path("..") / "elsewhere")
    with pytest.raises(UserError, match=rf"model/{file}: is a link to .*elsewhere, which is outside"):
        tiny.load(folder, load.read_spec(folder))


def test_links_of_an_index(folder, tmp_path):
    by_hand.write(tmp_path / "elsewhere", by_hand.header(A), 8)
    index(folder, {"a": "x.safetensors"})
    (folder / "x.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"x.safetensors: is a link to .*elsewhere"):
        hf.SafetensorsFolder(folder)


def test_links_inside_the_folder_are_fine(folder):
    (folder / "model.safetensors").rename(folder / "real.safetensors")
    (folder / "model.safetensors").symlink_to("real.safetensors")
    tiny.load(folder, SPEC)


def test_links_in_a_circle(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("model.safetensors")
    with pytest.raises(UserError, match="holds neither model.safetensors"):
        tiny.load(folder, SPEC)


@pytest.fixture
def snapshot(folder, tmp_path):
    """The same model as the hub's cache keeps it."""
    repo = tmp_path / "models--owner--name"
    out = repo / "snapshots" / ("c0ffee" * 7)[:40]
    out.mkdir(parents=True)
    (repo / "blobs").mkdir()
    for file in folder.iterdir():
        file.rename(repo / "blobs" / f"hash-of-{file.name}")
        (out / file.name).symlink_to(Path("../../blobs") / f"hash-of-{file.name}")
    return out


def test_the_cache_of_the_hub_is_made_of_links(snapshot):
    assert load.read_spec(snapshot) == SPEC
    tiny.load(snapshot, SPEC)


def test_links_to_another_models_blobs(snapshot, tmp_path):
    shutil.copytree(tmp_path / "models--owner--name", tmp_path / "models--owner--other", symlinks=True)
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to("../../../models--owner--other/blobs/hash-of-model.safetensors")
    with pytest.raises(UserError, match="is a link to .*models--owner--other"):
        tiny.load(snapshot, SPEC)


def test_a_blob_that_is_a_link_itself(snapshot, tmp_path):
    blob = snapshot.parents[1] / "blobs" / "hash-of-model.safetensors"
    blob.rename(tmp_path / "elsewhere")
    blob.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is a link to .*elsewhere"):
        tiny.load(snapshot, SPEC)


def test_the_commit_of_a_snapshot_is_recorded(snapshot, folder):
    for path, want in ((snapshot, snapshot.name), (folder, None)):
        if path == folder:
            shutil.copy(snapshot / "model.safetensors", folder)
        files = ModelFiles(path, None, tiny.model(SPEC), path)
        found = provenance.about_model(Config(), files)
        assert found["revision"] == want
        assert list(found["sha256"]) == ["model.safetensors"]


def test_no_remote_code_ever():
    """Of all keyword arguments in the project's code, those that could let a model folder run its own."""
    files = [p for room in ("moral_jax", "configs", "benchmarks", "tests") for p in (ROOT / room).rglob("*.py")]
    keywords = [n for p in files for n in ast.walk(ast.parse(p.read_text())) if isinstance(n, ast.keyword)]
    values = {ast.unparse(k.value) for k in keywords if k.arg == "trust_remote_code"}
    assert values == {"False"}
