"""The mesh and its table: every parameter has one rule, what should be cut is cut, and no number depends on it."""

import math
import re

import jax
import numpy as np
import optax
import pytest

from moral_jax import sharding
from moral_jax.config.model import AdapterConfig, MeshConfig
from moral_jax.config.train import OptimConfig
from moral_jax.models import api
from moral_jax.models.spec import Distances
from moral_jax.objectives import OBJECTIVES
from moral_jax.train import optim, step
from moral_jax.types import UserError
from tests.helpers import tiny
from tests.inference.test_score import assert_same_gradients
from tests.models.test_decoder import assert_same

MESHES = [(1, 8, 1), (2, 4, 1), (4, 2, 1), (2, 2, 2), (1, 4, 2)]
MODELS = [
    {"family": "llama"},
    {"family": "llama", "tied_embeddings": False},
    {"family": "mistral", "sliding_window": 5, "tied_embeddings": False},
]
LORA = AdapterConfig(kind="lora", rank=8, alpha=8.0, first_layer=1)
DORA = AdapterConfig(kind="dora", rank=8, alpha=8.0)
POLICIES = [
    {},
    {"adapter": LORA},
    {"adapter": DORA},
    {"adapter": LORA, "quantize": "int8"},
    {"adapter": LORA, "quantize": "nf4"},
]
WIDE = {"width": 64, "mlp_width": 128, "head_size": 16}  # nf4 wants multiples of 64
TX = optim.make(OptimConfig(lr=1e-3, warmup=0.0, eps=1e-3), 10)


def leaves(tree):
    return [(sharding.path_name(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


@pytest.mark.parametrize("changes", MODELS)
@pytest.mark.parametrize(
    ("concentration", "how"), [("fixed", {}), ("learned", {}), *(("predicted", how) for how in POLICIES)]
)
def test_every_parameter_has_exactly_one_rule(changes, concentration, how):
    model = tiny.model(tiny.spec(**changes, **WIDE), concentration=concentration, **how)
    for path, leaf in leaves(api.abstract_params(model)):
        rules = sharding.rules_of(path)
        assert len(rules) == 1, (path, rules)
        assert len(rules[0]) == leaf.ndim, (path, rules)


SCORED = [
    tiny.model(spec, score_rows=rows, concentration="predicted")
    for spec in (tiny.encoder_spec(), tiny.encoder_spec(**tiny.ROBERTA), tiny.spec())
    for rows in (1, 5)
]


@pytest.mark.parametrize("model", SCORED, ids=lambda model: f"{model.spec.family}-{model.score_rows}")
def test_so_it_has_with_a_score_head(model):
    for path, leaf in leaves(api.abstract_params(model)):
        rules = sharding.rules_of(path)
        assert [len(rule) for rule in rules] == [leaf.ndim], (path, rules)


def test_every_rule_is_used():
    spec = tiny.spec(tied_embeddings=False, **WIDE)
    others = [
        tiny.spec(norm="layer", norms="both", head_norm="each", qkv_bias=True, mlp_bias=True, **WIDE),
        tiny.spec(fused=True, unembedding_bias=True, tied_embeddings=False, **WIDE),
        tiny.encoder_spec(family="deberta-v2", distances=Distances(4, 9), pooler_norm=True),
    ]
    policies = (
        SCORED
        + [tiny.model(of, score_rows=int(of.backbone == "encoder")) for of in others]
        + [tiny.model(spec, concentration="predicted", **how) for how in POLICIES]
    )
    paths = [path for model in policies for path, _ in leaves(api.abstract_params(model))]
    assert all(any(re.search(f"{pattern}$", path) for path in paths) for pattern, _ in sharding.PARAMETERS)


@pytest.mark.parametrize("shape", MESHES)
@pytest.mark.parametrize("changes", MODELS)
def test_what_should_be_cut_is_cut(shape, changes):
    """Matrices and their moments by fsdp and tensor both, so that no device holds more than its part."""
    mesh = tiny.mesh(*shape)
    model = tiny.model(tiny.spec(vocab=96, **changes), mesh=mesh)
    parts = shape[1] * shape[2]
    for path, leaf in leaves(step.abstract_state(model, TX)):
        held = math.prod(leaf.sharding.shard_shape(leaf.shape))
        is_matrix = path.endswith(("kernel", "embedding"))
        assert held * (parts if is_matrix else 1) == math.prod(leaf.shape), path


def test_a_path_without_a_rule_is_named():
    with pytest.raises(ValueError, match="decoder/layers/mystery/kernel"):
        sharding.shardings({"decoder": {"layers": {"mystery": {"kernel": np.zeros((2, 2))}}}}, tiny.mesh(1, 1, 1))


def test_an_axis_that_does_not_divide_leaves_the_dimension_whole():
    where = sharding.shardings({"embedding": np.zeros((97, 32))}, tiny.mesh(1, 4, 2))["embedding"]
    assert where.shard_shape((97, 32)) == (97, 8)


@pytest.mark.parametrize(
    ("config", "devices", "want"),
    [
        (MeshConfig(), 8, (1, 8, 1)),
        (MeshConfig(), 1, (1, 1, 1)),
        (MeshConfig(data=2, tensor=2), 8, (2, 2, 2)),
        (MeshConfig(data=-1, fsdp=2), 8, (4, 2, 1)),
        (MeshConfig(slices=2), 8, (2, 4, 1)),
        (MeshConfig(data=2, fsdp=2, slices=2), 8, (4, 2, 1)),
    ],
)
def test_the_rest_is_filled_in(config, devices, want):
    assert sharding.mesh_shape(config, devices) == want


@pytest.mark.parametrize("config", [MeshConfig(tensor=3), MeshConfig(fsdp=4), MeshConfig(slices=3)])
def test_a_mesh_that_does_not_fit_is_an_error_that_shows_both(config):
    with pytest.raises(UserError, match=r"config.mesh: data=1 x .*does not divide 8 devices"):
        sharding.mesh_shape(config, 8)


def test_two_axes_cannot_both_be_the_rest():
    with pytest.raises(UserError, match="-1 for one axis only"):
        MeshConfig(data=-1)


@pytest.fixture(scope="module")
def batch():
    """Eight rows, two of them empty, questions of unequal weight."""
    asked = tiny.questions(np.random.default_rng(0), 11, 96)
    rows = [asked[:2], asked[2:3], asked[3:6], [], asked[6:7], asked[7:9], [], asked[9:]]
    return tiny.lay_out(rows, length=48, slots=3)


def one_step(mesh, batch, micro_rows, changes, how):
    """Gradients (as Adam's first means of them have them), metrics and the new weights, on the host."""
    model = tiny.model(tiny.spec(vocab=96, **changes), mesh=mesh, concentration="predicted", **how)
    frozen, params = api.split(tiny.params(model), model)
    micro = sharding.place(step.split_micro_batches(batch, micro_rows), micro_rows, mesh, micro_batches=True)
    take = step.make_train_step(OBJECTIVES["dirichlet_multinomial"], model, TX)
    state, metrics = take(step.init_state(params, model, TX), frozen, micro)
    means = [mean for _, mean in optax.tree.get_all_with_path(state.opt_state, "mu")]  # the heads' apart
    return jax.device_get((means, metrics, state.params))


@pytest.fixture(scope="module")
def alone(batch):
    """The numbers of one device, made once for each model: compiling them takes most of the time."""
    made = {}

    def numbers(changes, how):
        key = repr((changes, how))
        if key not in made:
            made[key] = one_step(tiny.mesh(1, 1, 1), batch, 8, changes, how)
        return made[key]

    return numbers


@pytest.mark.parametrize(("shape", "changes"), [((1, 8, 1), MODELS[1]), ((4, 2, 1), MODELS[2]), ((2, 2, 2), MODELS[1])])
def test_eight_devices_give_the_numbers_of_one(batch, alone, shape, changes):
    assert_same(one_step(tiny.mesh(*shape), batch, 8, changes, {}), alone(changes, {}), rtol=1e-5)


def test_so_they_do_of_an_encoder():
    """Two texts a question, on a mesh that cuts rows, weights and heads."""
    asked = tiny.each(np.random.default_rng(0), 11, 96)
    rows = [asked[:2], asked[2:3], asked[3:6], [], asked[6:7], asked[7:9], [], asked[9:]]
    batch, numbers = tiny.lay_out(rows, length=64, slots=3, is_encoder=True), []
    for shape in ((1, 1, 1), (2, 2, 2)):
        mesh = tiny.mesh(*shape)
        model = tiny.model(tiny.encoder_spec(vocab=96), mesh=mesh, score_rows=1, concentration="predicted")
        micro = sharding.place(step.split_micro_batches(batch, 8), 8, mesh, micro_batches=True)
        objective = OBJECTIVES["dirichlet_multinomial"]
        run = jax.jit(lambda p, b, o=objective, model=model: step.gradients(o, model, p, {}, b))
        numbers.append(jax.device_get(run(tiny.params(model), micro)))
    (grads, metrics), (want_grads, want_metrics) = numbers
    assert_same_gradients(grads, want_grads)
    assert_same(metrics, want_metrics, rtol=1e-5)


@pytest.mark.parametrize("how", POLICIES[2::2])
def test_so_they_do_beside_frozen_weights(batch, alone, how):
    assert_same(one_step(tiny.mesh(1, 4, 2), batch, 8, WIDE, how), alone(WIDE, how), rtol=1e-5)


@pytest.mark.parametrize("how", POLICIES[1:])
def test_adapters_and_what_they_stand_beside_are_cut(how):
    model = tiny.model(tiny.spec(vocab=96, width=256, mlp_width=256, head_size=64), mesh=tiny.mesh(1, 2, 2), **how)
    for path, leaf in leaves(api.abstract_params(model)):
        parts = math.prod(leaf.shape) // math.prod(leaf.sharding.shard_shape(leaf.shape))
        only_fsdp = re.search(r"(query|key|value|gate|up)/a$|(out|down)/b$", path)
        assert parts == (1 if path.endswith(("scale", "magnitude")) else 2 if only_fsdp else 4), path


def test_rows_that_only_fill_the_mesh_change_nothing(batch):
    """Two rows a micro-batch are asked for, eight devices are there: the same numbers."""
    mesh = tiny.mesh(1, 8, 1)
    rows = sharding.micro_batch_rows(2, mesh)
    assert rows == 8
    alone = one_step(tiny.mesh(1, 1, 1), batch, 2, MODELS[1], {})
    assert_same(one_step(mesh, batch, rows, MODELS[1], {}), alone, rtol=1e-5)


def test_a_random_model_is_made_in_its_shards():
    mesh = tiny.mesh(1, 4, 2)
    model = tiny.model(tiny.spec(vocab=96), mesh=mesh)
    params = api.random_params(model, 0)
    assert params["decoder"]["embedding"].addressable_shards[0].data.shape == (48, 8)
    alone = api.random_params(tiny.model(tiny.spec(vocab=96)), 0)
    assert_same(jax.device_get(params), jax.device_get(alone), rtol=1e-6)


def test_held_rows_are_all_of_them_in_one_process():
    assert sharding.local_rows(16, 8, tiny.mesh(1, 8, 1)) == list(range(16))
