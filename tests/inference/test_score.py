"""Score heads on both backbones: no option comes first, packing changes nothing, and what is trained is all there."""

import jax
import numpy as np
import pytest

from moral_jax.config.train import OptimConfig
from moral_jax.inference import score
from moral_jax.models import api, read_out
from moral_jax.objectives import OBJECTIVES
from moral_jax.train import optim, step
from tests.helpers import tiny
from tests.models.test_decoder import assert_same, loss_and_grad, scores

POLICIES = {
    "bert": tiny.model(tiny.encoder_spec(), score_rows=1, concentration="predicted"),
    "roberta": tiny.model(tiny.encoder_spec(**tiny.ROBERTA), score_rows=1, concentration="predicted"),
    "llama": tiny.model(tiny.spec(), score_rows=1, concentration="predicted"),
}


def assert_same_gradients(a, b, rtol=1e-5):
    """As `assert_same`. A bias of the keys moves all of a query's scores alike, so its gradient is nothing but
    rounding: beside that of the queries' bias it must be nothing."""

    def known(tree):
        encoder = {k: {**v, "attention": dict(v["attention"])} for k, v in tree["encoder"].items() if "layer" in k}
        for layer in encoder.values():
            of = {name: np.asarray(layer["attention"][name]["bias"]) for name in ("key", "query")}
            assert np.abs(of["key"]).max() < 1e-5 * np.abs(of["query"]).max()
            layer["attention"]["key"] = {"kernel": layer["attention"]["key"]["kernel"]}
        return tree | {"encoder": tree["encoder"] | encoder}

    if "encoder" in a:
        a, b = known(a), known(b)
    assert_same(a, b, rtol)


def is_encoder(model: api.Model) -> bool:
    return model.backbone == "encoder"


@pytest.fixture(params=POLICIES)
def model(request) -> api.Model:
    return POLICIES[request.param]


@pytest.fixture
def asked() -> list[dict]:
    return tiny.each(np.random.default_rng(0), 5, 97)


def test_packed_equals_separate(model, asked):
    params = tiny.params(model)
    packed = tiny.lay_out([asked[:3], asked[3:]], length=64, slots=3, is_encoder=is_encoder(model))
    separate = tiny.lay_out([[q] for q in asked], length=20, slots=1, is_encoder=is_encoder(model))
    (loss, grads), (want_loss, want_grads) = (loss_and_grad(params, model, batch) for batch in (packed, separate))
    assert float(loss) == pytest.approx(float(want_loss), rel=1e-6)
    assert_same_gradients(grads, want_grads)
    filled = packed.asks.weights_BQ > 0
    got, want = (jax.tree.leaves(scores(params, model, batch)) for batch in (packed, separate))
    assert len(got) == 2  # logits and concentration: there is no mass where options are no tokens
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(np.asarray(a)[filled], np.asarray(b)[:, 0], atol=1e-5)


def test_a_decoders_shared_beginning_changes_nothing(asked):
    model, prefix = POLICIES["llama"], np.random.default_rng(3).integers(0, 97, 6)
    params = tiny.params(model)
    packed = tiny.lay_out([asked[:3], asked[3:]], length=64, slots=3, shared=prefix)
    whole = [q | {"texts": [np.concatenate([prefix, text]) for text in q["texts"]]} for q in asked]
    separate = tiny.lay_out([[q] for q in whole], length=32, slots=1)
    assert_same(loss_and_grad(params, model, packed), loss_and_grad(params, model, separate), rtol=1e-5)


def reading(batch, read_of_option_BQC):
    """The batch with its options read from other texts."""
    return batch._replace(asks=batch.asks._replace(read_of_option_BQC=read_of_option_BQC))


def test_swapped_options_have_swapped_logits(model, asked):
    """To the last bit: an option's score does not know where the other one is."""
    params = tiny.params(model)
    batch = tiny.lay_out([asked[:3], asked[3:]], length=64, slots=3, is_encoder=is_encoder(model))
    swapped = reading(batch, batch.asks.read_of_option_BQC[..., ::-1])
    (a, _), (b, _) = scores(params, model, batch), scores(params, model, swapped)
    np.testing.assert_array_equal(a.logits_BQC, b.logits_BQC[..., ::-1])
    np.testing.assert_array_equal(a.log_concentration_BQ, b.log_concentration_BQ)
    assert np.abs(a.logits_BQC[..., 0] - a.logits_BQC[..., 1])[batch.asks.weights_BQ > 0].min() > 1e-4


def test_a_question_has_one_concentration_of_both_its_texts(asked):
    model = POLICIES["bert"]
    params = tiny.params(model)
    batch = tiny.lay_out([asked], length=80, slots=5, is_encoder=is_encoder(model))
    both = np.asarray(scores(params, model, batch)[0].log_concentration_BQ)
    first, second = (
        np.asarray(scores(params, model, reading(batch, batch.asks.read_of_option_BQC[..., [c, c]]))[0][1])
        for c in (0, 1)
    )
    np.testing.assert_allclose(both, (first + second) / 2, rtol=1e-5)
    assert np.abs(first - second).max() > 1e-3


@pytest.mark.parametrize("change", [{"unroll": 2, "remat": "full"}])
def test_scan_unrolled_and_remat_agree(change, asked):
    model = POLICIES["bert"]
    params = tiny.params(model)
    batch = tiny.lay_out([asked[:3], asked[3:]], length=64, slots=3, is_encoder=True)
    other = tiny.model(model.spec, score_rows=1, concentration="predicted", **change)
    assert_same_gradients(loss_and_grad(params, other, batch)[1], loss_and_grad(params, model, batch)[1], rtol=2e-5)


def test_an_encoder_sees_both_ways_and_its_own_text_alone(asked):
    """The last token of a text reaches the state at its first; no other text does."""
    model = POLICIES["bert"]
    params = tiny.params(model)
    batch = tiny.lay_out([asked[:2]], length=40, slots=2, is_encoder=True)
    last = len(asked[0]["texts"][0]) - 1
    tokens = batch.tokens.tokens_BT.copy()
    tokens[0, last] = (tokens[0, last] + 1) % 97
    run = jax.jit(read_out.read_states, static_argnums=1)
    moved = np.abs(
        run(params, model, batch._replace(tokens=batch.tokens._replace(tokens_BT=tokens))) - run(params, model, batch)
    )[0].max(-1)
    assert moved[0] > 1e-3
    assert (moved[1:] == 0).all()


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_one_step_trains_all_of_it(name, asked):
    model = POLICIES[name]
    params = tiny.params(model)
    params["head"]["kernel"] = params["head"]["kernel"] * 0.1
    before = jax.device_get(params)
    batch = tiny.lay_out([asked[:3], asked[3:]], length=64, slots=3, is_encoder=is_encoder(model))
    tx = optim.make(OptimConfig(lr=1e-3, warmup=0.0, weight_decay=0.0), 10)
    run = step.make_train_step(OBJECTIVES["dirichlet_multinomial"], model, tx)
    state, metrics = run(step.init_state(params, model, tx), {}, step.split_micro_batches(batch, 2))
    assert np.isfinite(metrics["grad_norm"][0])
    moved = jax.tree.map(lambda a, b: bool(np.any(np.asarray(a) != b)), state.params, before)
    still = [path for path, leaf in jax.tree_util.tree_leaves_with_path(moved) if not leaf]
    assert not still, still


def test_a_decoders_first_row_is_the_log_odds_of_yes(asked):
    model = POLICIES["llama"]
    decoder = tiny.params(model)["decoder"]
    row = api.init_heads_and_adapters(decoder, model, 0, (5, 9))["score"]["rows"]
    np.testing.assert_array_equal(row[0], decoder["embedding"][5] - decoder["embedding"][9])


def test_classes_have_a_row_and_a_bias_each():
    model = tiny.model(tiny.encoder_spec(), score_rows=5)
    score = api.init_heads_and_adapters(tiny.params(model)["encoder"], model, 0)["score"]
    assert {k: v.shape for k, v in score.items() if k != "pooler"} == {"rows": (5, 32), "bias": (5,)}
    assert 0.01 < float(score["rows"].std()) < 0.03
    params = tiny.params(model)
    asked = [q | {"option_ids": np.array([[0, -1], [4, -1]])} for q in tiny.questions(np.random.default_rng(0), 2, 97)]
    batch = tiny.lay_out([asked], length=40, slots=2, is_encoder=True)
    logits = scores(params, model, batch)[0].logits_BQC
    params["score"]["bias"] = params["score"]["bias"].at[4].add(1.0)
    np.testing.assert_allclose(
        scores(params, model, batch)[0].logits_BQC - logits, np.array([[[0, 1], [0, 1]]]), atol=1e-6
    )


def test_what_is_scored_is_a_distribution_over_the_options_that_exist():
    """Of two and of three options in one batch: before anything divides them."""
    model = tiny.model(tiny.spec(layers=1))
    asked = tiny.questions(np.random.default_rng(0), 3, 97)
    batch = tiny.lay_out([asked], length=48, slots=4)
    ids_BQCW = np.concatenate([batch.asks.option_ids_BQCW, np.full((1, 4, 1, 2), -1, np.int32)], axis=2)
    ids_BQCW[0, 0, 2, 0] = 5
    states_BQC = batch.asks.read_of_option_BQC[..., [0, 1, 1]]
    batch = batch._replace(asks=batch.asks._replace(option_ids_BQCW=ids_BQCW, read_of_option_BQC=states_BQC))
    items_BQ, choices = score.make_scorer(model).score(tiny.params(model), batch)
    p_BQC = np.exp(choices.log_p_EC)
    np.testing.assert_array_equal(items_BQ, batch.asks.items_BQ)
    np.testing.assert_allclose(p_BQC[0, :3].sum(-1), 1, rtol=1e-6)
    assert (p_BQC[0, :3] > 0).tolist() == [[True, True, True], [True, True, False], [True, True, False]]
