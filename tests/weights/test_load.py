"""Loading in pieces, straight into shards: the same numbers on every mesh, and nothing read that is not needed."""

import json
import math

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from moral_jax.config.model import ModelConfig
from moral_jax.models import api
from moral_jax.models.parameters import entries
from moral_jax.types import UserError
from moral_jax.weights import gguf, hf, load, shard_slices
from tests.helpers import tiny
from tests.weights import test_gguf

SPEC = tiny.spec(vocab=96, tied_embeddings=False)


@pytest.fixture(scope="module")
def parameters():
    return tiny.params(tiny.model(SPEC))["decoder"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, parameters):
    out = tmp_path_factory.mktemp("model")
    (out / "config.json").write_text(json.dumps(tiny.hf_config(SPEC)))
    save_file(tiny.hf_tensors(SPEC, parameters), out / "model.safetensors")
    return out


@pytest.fixture
def reads(monkeypatch):
    """The shape of everything that is read."""
    shapes = []
    for reader in (hf.SafetensorsFolder, gguf.GgufFile):

        def read(self, name, index, real=reader.read):
            got = real(self, name, index)
            shapes.append(got.shape)
            return got

        monkeypatch.setattr(reader, "read", read)
    return shapes


def abstract(mesh, spec=SPEC, **changes):
    return api.abstract_params(tiny.model(spec, mesh=mesh, **changes))["decoder"]


@pytest.mark.parametrize(
    ("shape", "piece_bytes"), [((1, 4, 2), 4000), ((1, 4, 2), 1 << 30), ((2, 2, 2), 8000), ((8, 1, 1), 1)]
)
def test_a_mesh_loads_what_one_device_loads(folder, parameters, shape, piece_bytes):
    like = abstract(tiny.mesh(*shape))
    loaded = load.load(folder, SPEC, like, piece_bytes)
    for leaf, want, place in zip(*map(jax.tree.leaves, (loaded, parameters, like)), strict=True):
        assert leaf.sharding == place.sharding
        assert leaf.dtype == place.dtype
        for shard in leaf.addressable_shards:
            np.testing.assert_array_equal(shard.data, np.asarray(want)[shard.index])


@pytest.mark.parametrize("kind", ["F32", "Q8_0"])
def test_a_mesh_loads_gguf_too(tmp_path, kind):
    of = test_gguf.SPEC
    path = test_gguf.write(tmp_path / "m.gguf", of, tiny.params(tiny.model(of))["decoder"], kind)
    like = abstract(tiny.mesh(1, 4, 2), of)
    jax.tree.map(np.testing.assert_array_equal, load.load(path, of, like, 100_000), tiny.load(path, of))


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16])
def test_types_are_cast_once(tmp_path, parameters, kind):
    save_file({k: v.astype(kind) for k, v in tiny.hf_tensors(SPEC, parameters).items()}, tmp_path / "model.safetensors")
    loaded = load.load(tmp_path, SPEC, abstract(tiny.mesh(1, 1, 1), param_dtype="bfloat16"), 1000)
    for leaf, want in zip(jax.tree.leaves(loaded), jax.tree.leaves(parameters), strict=True):
        np.testing.assert_array_equal(leaf, np.asarray(want).astype(kind).astype(ml_dtypes.bfloat16))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 4, 2), (2, 2, 2), (8, 1, 1)])
def test_every_number_is_read_once_in_small_pieces(folder, parameters, reads, shape):
    """Devices that hold the same shard share one read."""
    load.load(folder, SPEC, abstract(tiny.mesh(*shape)), 1000)
    assert sum(map(math.prod, reads)) == sum(x.size for x in jax.tree.leaves(parameters))
    assert max(map(math.prod, reads)) * shard_slices.BYTES <= 1000


def all_pieces(leaf, entry, devices):
    """What the given devices ask of the files, as a process that holds them would, and the numbers that they hold."""
    names = shard_slices.sources(entry, False)
    where = leaf.sharding.devices_indices_map(leaf.shape)
    shards = {tuple(w.indices(n)[:2] for w, n in zip(where[d], leaf.shape, strict=True)) for d in devices}
    asked = [piece for shard in shards for piece in shard_slices.cut(entry, names, leaf.shape, shard, 1000)]
    return asked, sum(math.prod(b - a for a, b in shard) for shard in shards)


@pytest.mark.parametrize("entry", entries(SPEC), ids=lambda e: e.path)
def test_a_process_reads_its_part_and_nothing_else(entry):
    """Eight devices in four processes: each process asks for the numbers of its shards, and together for all, once."""
    mesh = tiny.mesh(1, 4, 2)
    leaf = load.flat(abstract(mesh))[entry.path]
    devices = list(mesh.devices.flat)
    shape = shard_slices.file_shape(entry, leaf.shape)
    seen = {name: np.zeros(shape, int) for name in shard_slices.sources(entry, False)}
    for process in range(4):
        asked, held = all_pieces(leaf, entry, devices[2 * process : 2 * process + 2])
        numbers = [math.prod(part.stop - part.start for part in piece.index) for piece in asked]
        assert sum(numbers) == held
        if len(shape) == 2:
            assert sum(numbers) == math.prod(leaf.shape) // 4
        for piece in asked:
            seen[piece.tensor][piece.index] += 1
    times = 1 if len(shape) == 2 else 4  # norms are whole everywhere
    assert all((count == times).all() for count in seen.values())


def test_shapes_are_checked_before_anything_is_read(tmp_path, parameters, reads):
    tensors = tiny.hf_tensors(SPEC, parameters)
    save_file(tensors | {"lm_head.weight": np.ones((95, 32), np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"lm_head.weight.*\(95, 32\).*\(96, 32\)"):
        load.load(tmp_path, SPEC, abstract(tiny.mesh(1, 1, 1)), 1000)
    assert not reads


def test_the_size_of_a_piece_is_at_least_one():
    with pytest.raises(UserError, match="load_piece_mb=0: expected at least 1"):
        ModelConfig(load_piece_mb=0)
