"""Every family of decoders against transformers in float32, and every property that the decoder promises."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from moral_jax.config.model import AdapterConfig
from moral_jax.config.sample import SampleConfig
from moral_jax.models import api, parameters, quantize, read_out
from moral_jax.objectives import OBJECTIVES
from moral_jax.weights import export, load, peft
from tests.helpers import tiny
from tests.inference.test_generate import check_logp, prompts, replies
from tests.models.test_decoder import assert_same

torch = pytest.importorskip("torch", reason="torch is the reference; [test] installs it on Python 3.11")
transformers = pytest.importorskip("transformers")
peft_package = pytest.importorskip("peft", reason="PEFT is the reference; [test] installs it on Python 3.11")
families = pytest.importorskip("tests.helpers.families")

TOKENS = 520
LOSS = OBJECTIVES["soft_cross_entropy"]
logits = jax.jit(read_out.vocabulary_logits, static_argnums=1)


@pytest.fixture(params=[*families.DECODERS, *families.VARIANTS])
def any_of(request):
    """With what other files of a family have."""
    return families.pair(request.param)


@pytest.fixture(params=families.DECODERS)
def of(request):
    return families.pair(request.param)


def tokens(length: int = TOKENS) -> np.ndarray:
    return np.random.default_rng(0).integers(3, 97, (1, length))


def first_layer_that_differs(of, ids: np.ndarray) -> str:
    """Compares the states after every layer but the last, before the final norm."""
    with torch.no_grad():
        states = of.theirs.model(torch.from_numpy(ids), output_hidden_states=True).hidden_states
    for depth in range(1, of.model.spec.layers):
        params = {"decoder": tiny.cut(of.params["decoder"], depth), "head": {}}
        spec = tiny.spec(**vars(of.model.spec) | {"layers": depth})
        norm = of.theirs.model.final_layernorm if hasattr(of.theirs.model, "final_layernorm") else of.theirs.model.norm
        with torch.no_grad():
            want = of.theirs.lm_head(norm(states[depth])).numpy()
        got = np.asarray(logits(params, tiny.model(spec), jnp.asarray(ids)))
        if spec.logit_softcap:
            want = spec.logit_softcap * np.tanh(want / spec.logit_softcap)
        if (most := np.abs(got - want).max()) > 1e-4:
            return f"after layer {depth} of {of.model.spec.layers}: {most:.2g}"
    return "in the last layer or behind it"


def test_logits(any_of, record_property):
    of = any_of
    ids = tokens()
    want, got = of.logits(ids), np.asarray(logits(of.params, of.model, jnp.asarray(ids)))
    assert want.std() > 0.1
    if np.abs(got - want).max() > 1e-4:
        pytest.fail(f"differs first {first_layer_that_differs(of, ids)}; in logits {np.abs(got - want).max():.2g}")
    record_property("parity", [of.name, "tiny", TOKENS, float(np.abs(got - want).max())])


def test_every_tensor_of_the_file_is_read(any_of):
    of = any_of
    count = sum(x.size for x in load_file(of.folder / "model.safetensors").values())
    assert sum(x.size for x in jax.tree.leaves(of.params["decoder"])) == count


@pytest.mark.parametrize("kind", families.ROPES)
def test_rotary_scalings(kind, tmp_path, record_property):
    theirs = families.write({"model_type": "llama", "rope_parameters": families.ROPES[kind]}, tmp_path)
    spec, ids = load.read_spec(tmp_path), tokens()
    with torch.no_grad():
        want = theirs(torch.from_numpy(ids)).logits.numpy()
    got = logits({"decoder": tiny.load(tmp_path, spec), "head": {}}, tiny.model(spec), jnp.asarray(ids))
    np.testing.assert_allclose(got, want, atol=1e-4, rtol=0)
    record_property("parity", [f"Llama with {kind} rotary scaling", "tiny", TOKENS, float(np.abs(got - want).max())])


def lay_out(*, alone: bool):
    """Five questions, longer than the windows, with one beginning: in two rows that hold it once, or each alone."""
    rng = np.random.default_rng(3)
    asked = [q | {"tokens": np.concatenate([rng.integers(3, 97, 40), q["tokens"]])} for q in tiny.questions(rng, 5, 97)]
    prefix = rng.integers(3, 97, 20)
    if not alone:
        return tiny.lay_out([asked[:3], asked[3:], [], []], length=190, slots=3, shared=prefix)
    whole = [q | {"tokens": np.concatenate([prefix, q["tokens"]])} for q in asked]
    return tiny.lay_out([[q] for q in whole], length=80, slots=1)


@functools.partial(jax.jit, static_argnums=1)
def everything(params, model, batch):
    """Loss, gradients, option logits and option mass."""

    def loss(p):
        read = read_out.read_out(p, model, batch)
        total, weight = LOSS.loss(read, batch)["loss"]
        scores = read.options()
        return total / weight, (scores, read.log_option_mass(scores))

    return jax.value_and_grad(loss, has_aux=True)(params)


@functools.cache
def packed(of):
    return jax.device_get(everything(of.params, of.model, lay_out(alone=False)))


def test_packed_equals_separate(of):
    (loss, read), grads = packed(of)
    (loss_alone, read_alone), grads_alone = everything(of.params, of.model, lay_out(alone=True))
    assert_same((loss, grads), (loss_alone, grads_alone))
    filled = lay_out(alone=False).asks.weights_BQ > 0
    for a, b in zip(jax.tree.leaves(read), jax.tree.leaves(read_alone), strict=True):
        np.testing.assert_allclose(a[filled], np.asarray(b)[:, 0], atol=1e-5)


def test_eight_devices_equal_one(of):
    model = dataclasses.replace(of.model, compute=dataclasses.replace(of.model.compute, mesh=tiny.mesh(2, 2, 2)))
    params = jax.device_put(of.params, jax.tree.map(lambda leaf: leaf.sharding, api.abstract_params(model)))
    cut = params["decoder"]["layers"]["mlp"]["down"]["kernel"]
    assert cut.addressable_shards[0].data.size * 4 == cut.size
    assert_same(jax.device_get(everything(params, model, lay_out(alone=False))), packed(of))


def test_cached_equals_uncached(of):
    """Prompts shorter and longer than the windows, which replies cross."""
    asked = prompts(4, (3, 60))
    how = SampleConfig(n=2, max_tokens=40, temperature=0.7, slots=4)
    check_logp(of.params, of.model, asked, replies(of.params, of.model, asked, how), 0.7)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_adapters_are_those_of_peft(of, kind, tmp_path):
    """PEFT reads an adapter of ours beside every matrix, and has the same logits; so has the merged model."""
    adapter = AdapterConfig(kind=kind, rank=3, alpha=6.0)
    model = dataclasses.replace(of.model, adapter=adapter)
    random = tiny.params(model)["adapters"]
    leaves = load.flat(random)
    peft.save(lambda path: np.asarray(leaves[path]), model.spec, adapter, str(of.folder), tmp_path, "float32")
    base = transformers.AutoModelForCausalLM.from_pretrained(of.folder, attn_implementation="eager")
    theirs = peft_package.PeftModel.from_pretrained(base, tmp_path).eval()
    ids = tokens(100)
    with torch.no_grad():
        want = theirs(torch.from_numpy(ids)).logits.numpy()
    assert np.abs(want - of.logits(ids)).max() > 0.05
    got = logits(of.params | {"adapters": random}, model, jnp.asarray(ids))
    np.testing.assert_allclose(got, want, atol=1e-4, rtol=0)
    read = peft.load(tmp_path, model.spec, adapter, api.abstract_params(model)["adapters"])
    jax.tree.map(np.testing.assert_array_equal, read, random)


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_quantised_kernels_are_what_their_codes_stand_for(of, kind):
    model = dataclasses.replace(of.model, quantize=kind)
    stored = {path: api.quantize_or_cast(x, path, model) for path, x in load.flat(of.params["decoder"]).items()}
    assert all(isinstance(x, dict) for path, x in stored.items() if path.endswith("kernel"))
    restored = {path: quantize.restored(x, "float32") for path, x in stored.items()}
    ids = jnp.asarray(tokens(60))
    got = logits(of.params | {"decoder": load.nest(stored)}, model, ids)
    want = logits(of.params | {"decoder": load.nest(restored)}, of.model, ids)
    np.testing.assert_allclose(got, want, atol=1e-5, rtol=0)
    assert np.abs(np.asarray(want) - np.asarray(logits(of.params, of.model, ids))).max() > 1e-3


@pytest.mark.parametrize("rows", [0, 1])
def test_what_we_write_is_what_transformers_reads(of, rows, tmp_path):
    """Other weights than those that were read, and those of a score head, under the same config."""
    model = dataclasses.replace(of.model, score_rows=rows)
    params = tiny.params(model, seed=5)
    like = params["decoder"] | {"score": params.get("score", {})}
    leaves = load.flat(like)
    export.write_config(load.read_config(of.folder), model.spec, ("score",) * rows, tmp_path, "float32")
    entries = parameters.exported(model.spec, rows)
    export.write_weights(lambda path: np.asarray(leaves[path]), entries, like, tmp_path, "float32", 1 << 15)
    reader = transformers.AutoModelForSequenceClassification if rows else transformers.AutoModelForCausalLM
    theirs, said = reader.from_pretrained(tmp_path, attn_implementation="eager", output_loading_info=True)
    assert not any(said.values()), said
    assert [type(theirs).__name__] == theirs.config.architectures
    ids = tokens(80)
    with torch.no_grad():
        want = theirs.eval()(torch.from_numpy(ids)).logits.numpy()
    if rows:
        question = {"tokens": ids[0], "option_ids": np.array([[0, -1], [0, -1]]), "counts": np.ones(2), "weight": 1.0}
        got = everything(params, model, tiny.lay_out([[question]], 80, 1))[0][1][0].logits_BQC[0, 0, :1]
        np.testing.assert_allclose(got, want[0], atol=1e-4, rtol=0)
    else:
        assert load.read_spec(tmp_path) == model.spec
        np.testing.assert_allclose(logits(params, model, jnp.asarray(ids)), want, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["Gemma 2", "Phi-2"])
def test_the_head_is_the_same_wherever_it_is_read(name):
    """Log-probabilities of options, of whole texts and of samples come from the same logits, capped or with a bias."""
    of, question = families.pair(name), tiny.questions(np.random.default_rng(2), 1, 97)[0]
    batch, ids = tiny.lay_out([[question]], length=32, slots=1), question["option_ids"]

    @jax.jit
    def read(params):
        read = read_out.read_out(params, of.model, batch)
        options = read.options()
        targets = [read.logp(jnp.array([[target]]))[0, 0] for target in ids.ravel()]
        next_logits = read_out.next_logits(params, of.model, read.hidden_BAD[:, 0])
        return options.logits_BQC[0, 0], read.log_option_mass(options)[0, 0], jnp.array(targets), next_logits[0]

    options, mass, targets, sampled = read(of.params)
    want = jax.nn.log_softmax(logits(of.params, of.model, jnp.asarray(question["tokens"][None]))[0, -1])
    np.testing.assert_allclose(jax.nn.log_softmax(options) + mass, jax.nn.logsumexp(want[ids], axis=-1), atol=1e-5)
    np.testing.assert_allclose(targets, want[ids.ravel()], atol=1e-5)
    np.testing.assert_allclose(jax.nn.log_softmax(sampled), want, atol=1e-5)
