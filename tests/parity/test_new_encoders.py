"""ModernBERT and DeBERTa-v3 against transformers in float32, packed, cut, read, written, and with heads."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from moral_jax.models import api, disentangled, parameters, read_out
from moral_jax.models.attention_choice import choose
from moral_jax.models.spec import Distances
from moral_jax.objectives import OBJECTIVES
from moral_jax.types import Tokens, UserError
from moral_jax.weights import export, load
from tests.helpers import tiny
from tests.models.test_decoder import assert_same

torch = pytest.importorskip("torch", reason="torch is the reference; [test] installs it on Python 3.11")
transformers = pytest.importorskip("transformers")
families = pytest.importorskip("tests.helpers.families")
TOKENS = 510  # as many as DeBERTa-v3 reads
LOSS = OBJECTIVES["soft_cross_entropy"]


@functools.cache
def pair(name):
    """(the model of transformers, its folder, our spec and parameters)."""
    folder = families.new_folder()
    theirs = families.write(families.ENCODERS[name], folder, "")
    spec = load.read_spec(folder)
    return theirs, folder, spec, tiny.load(folder, spec)


@pytest.fixture(params=families.ENCODERS)
def of(request):
    return pair(request.param)


@functools.partial(jax.jit, static_argnums=1)
def states(encoder, model, ids):
    """Final states of unpacked rows at all positions, [B, T, D]."""
    one_BT, positions_BT = jnp.ones_like(ids), jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)
    rows = Tokens(ids, one_BT, one_BT + 1, positions_BT, one_BT - 1)
    return api.module(model).apply({"params": encoder}, rows, positions_BT)


@pytest.mark.parametrize("name", families.ENCODERS)
def test_states(name, record_property):
    theirs, _, spec, encoder = pair(name)
    ids = np.random.default_rng(0).integers(5, 97, (1, TOKENS))
    with torch.no_grad():
        want = theirs(torch.from_numpy(ids)).last_hidden_state.numpy()
    assert want.std() > 0.5
    got = np.asarray(states(encoder, tiny.model(spec), jnp.asarray(ids)))
    np.testing.assert_allclose(got, want, atol=1e-4, rtol=0)
    record_property("parity", [name, "tiny", TOKENS, float(np.abs(got - want).max())])


def test_every_tensor_of_the_file_is_read(of):
    _, folder, _, encoder = of
    count = sum(x.size for x in load_file(folder / "model.safetensors").values())
    assert sum(x.size for x in jax.tree.leaves(encoder)) == count


@pytest.mark.parametrize(("buckets", "longest"), [(256, 512), (16, 512), (4, 9)])
def test_distances_are_counted_as_transformers_does(buckets, longest):
    distances = torch.arange(-longest, longest + 1)
    module = transformers.models.deberta_v2.modeling_deberta_v2
    theirs = module.make_log_bucket_position(distances, buckets, longest).long().numpy()
    want = np.clip(theirs + buckets, 0, 2 * buckets - 1)
    np.testing.assert_array_equal(disentangled.rows(Distances(buckets, longest)), want)


def lay_out(*, alone):
    rng = np.random.default_rng(1)
    asked = tiny.each(rng, 4, 97)
    for question in asked:
        question["texts"] = [rng.integers(5, 97, n) for n in (30, 45)]  # longer than near tokens
    rows = [[q] for q in asked] if alone else [asked[:2], asked[2:], [], []]
    return tiny.lay_out(rows, length=80 if alone else 170, slots=1 if alone else 2, is_encoder=True)


@functools.partial(jax.jit, static_argnums=1)
def everything(params, model, batch):
    def loss(p):
        read = read_out.read_out(p, model, batch)
        total, weight = LOSS.loss(read, batch)["loss"]
        return total / weight, read.options().logits_BQC

    return jax.value_and_grad(loss, has_aux=True)(params)


def whole(of, **changes):
    _, _, spec, encoder = of
    model = tiny.model(spec, score_rows=1, **changes)
    return {**tiny.params(model), "encoder": encoder}, model


def joined(grads):
    """Biases of queries and keys as one leaf: those of keys move almost all of a query's scores alike, so that their
    gradient is little more than rounding beside that of queries."""
    flat = load.flat(grads)
    keys = [path for path in flat if path.endswith("attention/key/bias")]
    both = {path: np.stack([flat.pop(path), flat.pop(path.replace("key", "query"))]) for path in keys}
    return flat | both


def test_packed_equals_separate(of):
    params, model = whole(of)
    (loss, logits), grads = everything(params, model, lay_out(alone=False))
    (loss_alone, logits_alone), grads_alone = everything(params, model, lay_out(alone=True))
    np.testing.assert_allclose(loss, loss_alone, rtol=1e-5)
    filled = lay_out(alone=False).asks.weights_BQ > 0
    np.testing.assert_allclose(logits[filled], logits_alone[:, 0], atol=1e-5)
    assert_same(joined(grads), joined(grads_alone))


def test_eight_devices_equal_one(of):
    params, model = whole(of)
    cut = dataclasses.replace(model, compute=dataclasses.replace(model.compute, mesh=tiny.mesh(2, 2, 2)))
    placed = jax.device_put(params, jax.tree.map(lambda leaf: leaf.sharding, api.abstract_params(cut)))
    batch = lay_out(alone=False)
    (found, grads), (found_alone, grads_alone) = everything(placed, cut, batch), everything(params, model, batch)
    assert_same((found, joined(grads)), (found_alone, joined(grads_alone)))


HEADS = {1: "MultipleChoice", 5: "SequenceClassification"}


@pytest.mark.parametrize("rows", HEADS)
@pytest.mark.parametrize("name", families.ENCODERS)
def test_what_we_write_is_what_transformers_reads(name, rows, tmp_path):
    """Other weights than those that were read, and those of a head."""
    _, folder, spec, _ = pair(name)
    model = tiny.model(spec, score_rows=rows)
    params = tiny.params(model, seed=5)
    score = {"bias": np.zeros(rows, np.float32)} | params["score"]
    leaves = load.flat(params["encoder"] | {"score": score})
    labels = tuple("abcde"[:rows])
    export.write_config(load.read_config(folder), spec, labels, tmp_path, "float32")
    entries = parameters.exported(spec, rows)
    like = params["encoder"] | {"score": score}
    export.write_weights(lambda path: np.asarray(leaves[path]), entries, like, tmp_path, "float32", 1 << 20)
    reader = getattr(transformers, f"AutoModelFor{HEADS[rows]}")
    theirs, said = reader.from_pretrained(tmp_path, attn_implementation="eager", output_loading_info=True)
    assert not any(said.values()), said
    assert [type(theirs).__name__] == theirs.config.architectures
    rng = np.random.default_rng(1)
    question = tiny.each(rng, 1, 97)[0] | {"texts": [rng.integers(5, 97, 40) for _ in range(2)]}
    if rows > 1:
        question |= {"texts": question["texts"][:1], "option_ids": np.array([[0, -1], [3, -1]])}
    batch = tiny.lay_out([[question]], length=90, slots=1, is_encoder=True)
    got = everything(params, model, batch)[0][1][0, 0]
    ids = torch.from_numpy(np.stack(question["texts"]))
    with torch.no_grad():
        want = theirs.eval()(ids[None] if rows == 1 else ids).logits.numpy()[0]
    np.testing.assert_allclose(got, want if rows == 1 else want[[0, 3]], atol=1e-4, rtol=0)


def test_heads_of_pretraining_are_read_or_left(tmp_path):
    """ModernBERT's masked-language head begins as its classes' heads do in transformers; its decoder is left."""
    families.write(families.ENCODERS["ModernBERT"], tmp_path, "MaskedLM")
    spec = load.read_spec(tmp_path)
    tiny.load(tmp_path, spec)
    like = api.abstract_params(tiny.model(spec, score_rows=1))["score"]
    pooler = load.pooler(tmp_path, spec, like, 4096)["pooler"]
    stored = load_file(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(pooler["kernel"], stored["head.dense.weight"].T)
    np.testing.assert_array_equal(pooler["norm"]["scale"], stored["head.norm.weight"])


def test_a_trained_classifier_is_not_left(tmp_path):
    families.write(families.ENCODERS["DeBERTa-v3"], tmp_path, "SequenceClassification")
    with pytest.raises(UserError, match="have no place in this model, first 'classifier.bias'"):
        tiny.load(tmp_path, load.read_spec(tmp_path))


def test_what_v3s_generator_left_is_left(tmp_path):
    _, folder, spec, _ = pair("DeBERTa-v3")
    tensors = {f"deberta.{name}": x for name, x in load_file(folder / "model.safetensors").items()}
    more = (
        "lm_predictions.lm_head.dense.weight",
        "mask_predictions.classifier.bias",
        "mask_predictions.LayerNorm.bias",
    )
    save_file(tensors | dict.fromkeys(more, np.ones(2, np.float32)), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    jax.tree.map(np.testing.assert_array_equal, tiny.load(tmp_path, spec), pair("DeBERTa-v3")[3])


@pytest.mark.parametrize(("name", "platform"), [("splash", "tpu"), ("cudnn", "gpu")])
def test_kernels_that_weigh_no_distances_are_not_chosen(name, platform):
    spec = pair("DeBERTa-v3")[2]
    assert choose(None, platform, spec, "bfloat16", 512) == ("plain", f"{name} weighs no distances between tokens, as "
                                                             "deberta-v2 needs")  # fmt: skip
    with pytest.raises(UserError, match=f"config.model.attention='{name}'.*weighs no distances"):
        choose(name, platform, spec, "bfloat16", 512)
