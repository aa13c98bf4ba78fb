"""Checkpoints: exact, the latest and the best kept, parameters alone on demand; a step counts once it is sealed."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moral_jax.config.model import AdapterConfig
from moral_jax.config.train import OptimConfig
from moral_jax.models import api
from moral_jax.train import checkpoint, checksum, manifest, optim
from moral_jax.train.checkpoint import Checkpoints
from moral_jax.train.manifest import Progress
from moral_jax.train.step import abstract_state, init_state
from moral_jax.types import StorageError, UserError
from tests.helpers import tiny

POLICY = tiny.model(tiny.spec(), concentration="predicted")
TX = optim.make(OptimConfig(), 10)
ABOUT = {"config": {"adapter": dataclasses.asdict(AdapterConfig())}, "versions": {"jax": "1"}, "weights": {"w": "ab"}}


def state(seed):
    return init_state(tiny.params(POLICY, seed), POLICY, TX)


def like():
    return abstract_state(POLICY, TX)


def save(folder, *progresses, **how):
    with Checkpoints(folder, ABOUT, **how) as c:
        for progress in progresses:
            c.save(state(progress.step), progress)
        c.wait()


def there(folder):
    return {p.name for p in folder.iterdir()}


def test_latest_best_and_multiples_are_kept(tmp_path):
    best = {1: 1, 2: 2, 3: 2, 4: 2, 5: 2}
    save(tmp_path / "c", *(Progress(step=n, best_step=b) for n, b in best.items()), every=3)
    with Checkpoints(tmp_path / "c") as c:
        assert c.latest() == 5
        assert (c.chosen("best"), c.chosen("last")) == (2, 5)
    assert there(tmp_path / "c") == {"2", "2.json", "3", "3.json", "5", "5.json"}


def test_the_best_outlives_a_resume(tmp_path):
    for step in (1, 2, 3, 4):
        save(tmp_path / "c", Progress(step=step, best_step=min(step, 2)))
    assert manifest.steps(tmp_path / "c") == [2, 4]
    with Checkpoints(tmp_path / "c") as c:
        got = c.restore_params(c.chosen("best"), like().params)
    jax.tree.map(np.testing.assert_array_equal, got, state(2).params)


def test_everything_comes_back_exactly(tmp_path):
    progress = Progress(step=7, validated=6, best_step=7, best_loss=0.25, without_best=2, finished=True)
    save(tmp_path / "c", progress)
    saved = state(7)._replace(step=jnp.int32(7))
    with Checkpoints(tmp_path / "c") as c:
        restored, restored_progress = c.restore(7, like())
        params = c.restore_params(7, api.abstract_params(POLICY))
        norm = c.restore_param(7, "decoder/final_norm/scale")
        assert c.read_manifest(7).about == ABOUT
    assert restored_progress == progress
    assert jax.tree.structure(restored) == jax.tree.structure(saved)
    for a, b in zip(jax.tree.leaves(restored), jax.tree.leaves(saved), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    jax.tree.map(np.testing.assert_array_equal, params, saved.params)
    np.testing.assert_array_equal(norm, saved.params["decoder"]["final_norm"]["scale"])


def test_what_is_known_of_a_step_is_renewed_without_saving_it_again(tmp_path, monkeypatch):
    with Checkpoints(tmp_path / "c", ABOUT) as c:
        c.save(state(3), Progress(step=3))
        monkeypatch.setattr(c._checkpointer, "save", None)
        c.save(state(3), Progress(step=3, validated=3, best_step=3))
        c.wait()
        assert c.read_manifest(3).progress == Progress(step=3, validated=3, best_step=3)


def test_a_step_that_was_not_sealed_does_not_count_and_goes(tmp_path):
    """As a kill leaves it between Orbax's rename and ours, and in the middle of Orbax's writing."""
    save(tmp_path / "c", Progress(step=1))
    shutil.copytree(tmp_path / "c" / "1", tmp_path / "c" / "2")
    shutil.copytree(tmp_path / "c" / "1", tmp_path / "c" / "3.orbax-checkpoint-tmp")
    with Checkpoints(tmp_path / "c") as c:
        assert c.latest() == 1
    save(tmp_path / "c", Progress(step=2))
    assert there(tmp_path / "c") == {"2", "2.json"}


def test_what_was_written_is_read_back(tmp_path, monkeypatch):
    """A disk that keeps other bytes than it was given: named, and the step before stays."""
    save(tmp_path / "c", Progress(step=1))
    sums = checksum.on_devices
    monkeypatch.setattr(
        checkpoint.checksum, "on_devices", lambda leaves: sums(leaves) | {"params/decoder/embedding": 1}
    )
    with Checkpoints(tmp_path / "c", ABOUT) as c:
        c.save(state(2), Progress(step=2))
        with pytest.raises(StorageError, match=r"c/2: .*decoder/embedding is not.* last good one is step 1"):
            c.wait()
    assert manifest.steps(tmp_path / "c") == [1]


def test_checkpoints_of_an_older_version(tmp_path):
    (tmp_path / "c" / "4" / "progress").mkdir(parents=True)
    with Checkpoints(tmp_path / "c") as c, pytest.raises(UserError, match="of an older version, without checksums"):
        c.latest()
    assert (tmp_path / "c" / "4" / "progress").exists()


@pytest.mark.parametrize("keep", ["best", "last"])
def test_without_a_validation_the_latest_is_chosen(tmp_path, keep):
    save(tmp_path / "c", Progress(step=3), Progress(step=6))
    with Checkpoints(tmp_path / "c") as c:
        assert c.chosen(keep) == 6


def test_no_checkpoint_is_an_error_that_says_so(tmp_path):
    with Checkpoints(tmp_path / "c") as c, pytest.raises(UserError, match="holds no checkpoint"):
        c.chosen("best")


def test_going_back(tmp_path):
    save(tmp_path / "c", *(Progress(step=n) for n in (2, 4, 6, 7)), every=2)
    with Checkpoints(tmp_path / "c") as c:
        with pytest.raises(UserError, match=r"--resume-from=3: .* has no such step; it has \[2, 4, 6, 7\]"):
            c.verify(3)
        c.verify(4)
        c.drop_after(4)
        assert c.latest() == 4
    assert there(tmp_path / "c") == {"2", "2.json", "4", "4.json"}


ARRAYS = [
    np.random.default_rng(0).normal(size=shape).astype(dtype)
    for shape in ((), (7,), (16, 24), (3, 8, 16), (0, 4), (131, 1024))
    for dtype in ("float32", "bfloat16", "int8")
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}-{a.shape}")
def test_a_checksum_is_the_same_on_the_host_and_however_it_is_cut(array):
    expected = checksum.on_host(array)
    for shape in ((1, 1, 1), (1, 8, 1), (2, 2, 2)):
        mesh = tiny.mesh(*shape)
        cut = jax.sharding.PartitionSpec("fsdp" if array.ndim and array.shape[0] % shape[1] == 0 else None)
        where = jax.sharding.NamedSharding(mesh, cut if array.ndim else jax.sharding.PartitionSpec())
        assert checksum.on_devices({"x": jax.device_put(array, where)}) == {"x": expected}


def test_a_checksum_sees_every_bit_and_every_exchange():
    array = np.random.default_rng(1).normal(size=(5, 40)).astype("float32")
    seen = {checksum.on_host(array)}
    bits = array.reshape(-1).view(np.uint32)
    for place in range(bits.size):
        for bit in range(32):
            bits[place] ^= np.uint32(1 << bit)
            seen.add(checksum.on_host(array))
            bits[place] ^= np.uint32(1 << bit)
    assert len(seen) == 1 + bits.size * 32
    blocks = np.arange(1 << 18, dtype=np.float32).astype("bfloat16").astype("float32").reshape(4, -1)
    exchanged = {checksum.on_host(blocks[list(order)]) for order in ((0, 1, 2, 3), (1, 0, 2, 3), (2, 1, 0, 3))}
    assert len(exchanged) == 3
    signs = {checksum.on_host(np.float32(numbers)) for numbers in ((1, -1, 2), (-1, 1, 2), (-1, -1, 2), (1, 1, 2))}
    assert len(signs) == 4, "of a number's highest bit only one bit of its product is left"


def test_a_step_under_another_name_is_said_to_be_that(tmp_path):
    save(tmp_path, Progress(step=3))
    (tmp_path / "3.json").rename(tmp_path / "7.json")
    with pytest.raises(StorageError, match=r"7.json: is the manifest of step 3; rename it to 3.json, and 7 to 3"):
        manifest.read(tmp_path, 7)


def test_what_is_offered_instead_of_a_damaged_step_is_older_where_there_is_one(tmp_path):
    for step in (2, 4, 6):
        manifest.write(tmp_path, manifest.Manifest(Progress(step=step), {}, {}))
    assert "with --resume-from=2 or --resume-from=4 goes on from there" in manifest.others(tmp_path, 6)
    assert "with --resume-from=2 goes on" in manifest.others(tmp_path, 4)
    said = manifest.others(tmp_path, 2)
    assert "There is no older one: train.py with --resume-from=6 goes on without it, or remove" in said
    manifest.remove(tmp_path, {2})
    assert "There is no other checkpoint: remove" in manifest.others(tmp_path, 2)


def test_a_seal_that_was_changed_is_refused(tmp_path):
    save(tmp_path / "c", Progress(step=4, best_step=2))
    path = tmp_path / "c" / "4.json"
    text = path.read_text()
    assert json.loads(text)["seal"]["progress"]["best_step"] == 2
    path.write_text(text.replace('"best_step": 2', '"best_step": 3'))
    with Checkpoints(tmp_path / "c") as c, pytest.raises(StorageError, match="4.json: is damaged .*its SHA-256"):
        c.read_manifest(4)


def test_a_step_whose_arrays_are_being_removed_counts_no_longer(tmp_path, monkeypatch):
    """A kill between any two removals leaves steps that are whole, and files that the next save tidies."""
    save(tmp_path / "c", *(Progress(step=n) for n in (1, 2, 3)), every=1)

    def killed(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(manifest.files, "remove_folder", killed)
    with pytest.raises(KeyboardInterrupt):
        manifest.remove(tmp_path / "c", {3})
    assert manifest.steps(tmp_path / "c") == [3]
    monkeypatch.undo()
    manifest.remove(tmp_path / "c", {3})
    assert there(tmp_path / "c") == {"3", "3.json"}
