"""Adapters against PEFT + torch: its files into ours, ours into its, merged and not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from moral_jax.config.model import AdapterConfig
from moral_jax.models import adapters, api, read_out
from moral_jax.types import Tokens
from moral_jax.weights import load, peft
from tests.helpers import tiny

torch = pytest.importorskip("torch", reason="torch is the reference; [test] installs it on Python 3.11")
transformers = pytest.importorskip("transformers")
theirs = pytest.importorskip("peft", reason="PEFT is the reference; [test] installs it on Python 3.11")

families = pytest.importorskip("tests.helpers.families")

KINDS = {
    "lora": AdapterConfig(kind="lora", rank=3, alpha=6.0),
    "rslora, some targets, upper layers": AdapterConfig(
        kind="lora", rank=3, alpha=2.0, scaling="sqrt_rank", targets="q_proj|v_proj|down_proj", first_layer=1
    ),
    "dora": AdapterConfig(kind="dora", rank=3, alpha=6.0),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A model that transformers made and saved, and what we load from its files."""
    of, folder = tiny.spec(layers=3), tmp_path_factory.mktemp("base")
    config = {k: v for k, v in tiny.hf_config(of).items() if k != "model_type"}
    torch.manual_seed(0)
    hf_model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(of.family, **config))
    with torch.no_grad():
        for name, p in hf_model.named_parameters():
            p.normal_(1.0 if "norm" in name else 0.0, 0.1)
    hf_model.save_pretrained(folder)
    return folder


@pytest.fixture(params=KINDS.values(), ids=[k.split(",")[0] for k in KINDS])
def adapter(request) -> AdapterConfig:
    return request.param


def reference(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()


def params_of(base, adapter):
    model = tiny.model(load.read_spec(base), adapter=adapter, unroll=1)
    like = api.abstract_params(model)["decoder"]
    return model, api.init_heads_and_adapters(
        load.load(base, model.spec, like, 4096, frozen_layers=model.frozen_layers), model, 0
    )


TOKENS = np.random.default_rng(0).integers(0, 97, (1, 60))


def ours(params, model):
    return jax.jit(read_out.vocabulary_logits, static_argnums=1)(params, model, jnp.asarray(TOKENS))


def logits_of(hf_model):
    with torch.no_grad():
        return hf_model(torch.from_numpy(TOKENS)).logits.numpy()


def randomised(hf_model):
    torch.manual_seed(1)
    with torch.no_grad():
        for name, p in hf_model.named_parameters():
            if "lora_magnitude" in name:
                p.mul_(1 + 0.1 * torch.randn_like(p))
            elif "lora_" in name:
                p.normal_(0.0, 0.1)
    return hf_model.eval()


def test_its_files_give_us_its_logits(base, adapter, tmp_path):
    settings = theirs.LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        use_rslora=adapter.scaling == "sqrt_rank",
        use_dora=adapter.kind == "dora",
        target_modules=adapter.targets.split("|"),
        layers_to_transform=list(range(adapter.first_layer, 3)) if adapter.first_layer else None,
        lora_dropout=0.1,
        task_type="CAUSAL_LM",
    )
    hf_model = randomised(theirs.get_peft_model(reference(base), settings))
    hf_model.save_pretrained(tmp_path)
    want = logits_of(hf_model)
    assert np.abs(want - logits_of(reference(base))).max() > 0.1
    model, params = params_of(base, adapter)
    loaded = peft.load(tmp_path, model.spec, model.adapter, api.abstract_params(model)["adapters"])
    np.testing.assert_allclose(ours(params | {"adapters": loaded}, model), want, atol=1e-4, rtol=0)


def merged(backbone, beside, model):
    """A backbone with adapters multiplied into it, so that none is left beside."""
    kernels, arrays = dict(load.flat(backbone)), load.flat(adapters.scaled(beside, model.adapter))
    for entry in adapters.entries(model.spec, model.adapter):
        where = entry.path.removesuffix("kernel")
        adapter = {leaf: arrays[where + leaf] for leaf in adapters.leaves(model.adapter)}
        kernels[entry.path] = adapters.merged(kernels[entry.path], adapter)
    return load.nest(kernels)


def written(base, adapter, folder):
    """An adapter with random values, as we write it; our logits with it, and with all of it merged."""
    model, params = params_of(base, adapter)
    random = tiny.params(model)["adapters"]
    params |= {"adapters": random}
    leaves = load.flat(random)
    peft.save(lambda path: np.asarray(leaves[path]), model.spec, model.adapter, str(base), folder, "float32")
    alone = merged(params["decoder"], random, model)
    return ours(params, model), ours({"decoder": alone, "head": {}}, model)


def test_our_files_give_it_our_logits(base, adapter, tmp_path):
    got, _ = written(base, adapter, tmp_path)
    hf_model = theirs.PeftModel.from_pretrained(reference(base), tmp_path).eval()
    want = logits_of(hf_model)
    assert np.abs(want - logits_of(reference(base))).max() > 0.1
    np.testing.assert_allclose(got, want, atol=1e-4, rtol=0)


def test_merged_as_it_merges(base, adapter, tmp_path):
    got, merged = written(base, adapter, tmp_path)
    np.testing.assert_allclose(merged, got, atol=1e-4, rtol=0)
    hf_model = theirs.PeftModel.from_pretrained(reference(base), tmp_path).merge_and_unload().eval()
    np.testing.assert_allclose(merged, logits_of(hf_model), atol=1e-4, rtol=0)


ENCODERS = {  # by family, the maps of a layer that get an adapter
    "BERT": "query|value|dense",
    "ModernBERT": "Wqkv|Wi|Wo",
    "DeBERTa-v3": "query_proj|key_proj|value_proj|dense",
}


def encoder_folder(name):
    folder = families.new_folder()
    if name != "BERT":
        families.write(families.ENCODERS[name], folder, "")
        return folder
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(**tiny.hf_encoder_config(tiny.encoder_spec()))
    hf_model = transformers.BertModel(config, add_pooling_layer=False)
    with torch.no_grad():
        for path, p in hf_model.named_parameters():
            p.normal_(1.0 if path.endswith("LayerNorm.weight") else 0.0, 0.1)
    hf_model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize("name", ENCODERS)
def test_encoders(name, kind, tmp_path):
    """Its files give us its states, also once merged, and with names that a class with a head has written."""
    folder = encoder_folder(name)
    more = {"add_pooling_layer": False} if name == "BERT" else {}
    plain = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager", **more).eval()
    ids = np.random.default_rng(0).integers(5, 97, (1, 60))
    with torch.no_grad():
        before = plain(torch.from_numpy(ids)).last_hidden_state.numpy()
        settings = theirs.LoraConfig(
            r=3, lora_alpha=6.0, use_dora=kind == "dora", target_modules=ENCODERS[name].split("|")
        )
        hf_model = randomised(theirs.get_peft_model(plain, settings))
        hf_model.save_pretrained(tmp_path)
        want = hf_model(torch.from_numpy(ids)).last_hidden_state.numpy()
    assert np.abs(want - before).max() > 0.1
    adapter = AdapterConfig(kind=kind, rank=3, alpha=6.0, targets=ENCODERS[name])
    model = tiny.model(load.read_spec(folder), adapter=adapter, score_rows=1)
    encoder = tiny.load(folder, model.spec)
    one, here = jnp.ones_like(ids), jnp.arange(60)[None]

    @jax.jit
    def states(params):
        return api.module(model).apply(
            api.variables(params, model), Tokens(jnp.asarray(ids), one, one + 1, here, one - 1), here
        )

    like = api.abstract_params(model)["adapters"]
    found = peft.load(tmp_path, model.spec, adapter, like)
    np.testing.assert_allclose(states({"encoder": encoder, "adapters": found}), want, atol=1e-4, rtol=0)
    file = tmp_path / peft.TENSORS
    prefix = {"BERT": "bert", "ModernBERT": "model", "DeBERTa-v3": "deberta"}[name]
    named = {k.replace(peft.PREFIX, f"{peft.PREFIX}{prefix}."): v for k, v in load_file(file).items()}
    save_file(named, file)
    again = peft.load(tmp_path, model.spec, adapter, like)
    jax.tree.map(np.testing.assert_array_equal, again, found)
    alone = {"encoder": merged(encoder, found, model)}
    np.testing.assert_allclose(states(alone), want, atol=1e-4, rtol=0)
