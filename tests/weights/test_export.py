"""Weight files of an export: none larger than asked for, and none that the one before had room for."""

import json
import math

import numpy as np
import pytest
from safetensors import safe_open

from moral_jax.models import api, parameters
from moral_jax.weights import export, load
from tests.helpers import tiny

MODEL = tiny.model(tiny.spec())


@pytest.mark.parametrize("limit", [1, 20_000, 1 << 30])
def test_files_are_filled_one_after_the_other(tmp_path, limit):
    leaves = load.flat(tiny.params(MODEL)["decoder"])
    like = api.abstract_loaded(MODEL, trained=True)
    entries = parameters.exported(MODEL.spec, 0, 0)
    count = export.write_weights(lambda path: np.asarray(leaves[path]), entries, like, tmp_path, "float32", limit)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    sizes: dict[str, dict[str, int]] = {}
    for name, file in index["weight_map"].items():
        with safe_open(tmp_path / file, "np") as opened:
            sizes.setdefault(file, {})[name] = 4 * math.prod(opened.get_slice(name).get_shape())
    files = [list(of_file.values()) for _, of_file in sorted(sizes.items())]
    assert len(files) == count
    assert sum(map(sum, files)) == index["metadata"]["total_size"] == sum(4 * leaf.size for leaf in leaves.values())
    assert all(sum(file) <= limit or len(file) == 1 for file in files)
    assert all(sum(file) + following[0] > limit for file, following in zip(files, files[1:], strict=False))
    assert (count == 1) == (limit == 1 << 30)
