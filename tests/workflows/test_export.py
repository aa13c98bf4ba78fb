"""Export: transformers has our logits, we have the same probabilities again, and memory stays bounded."""

import dataclasses
import json
import time
import weakref
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from moral_jax.cli import main
from moral_jax.config import Config, saved
from moral_jax.config.evaluate import EvalConfig
from moral_jax.config.model import MeshConfig, ModelConfig
from moral_jax.config.task import TaskConfig
from moral_jax.config.train import ObjectiveConfig, OptimConfig
from moral_jax.models import api, parameters, read_out
from moral_jax.models.rope import Llama3Scaling
from moral_jax.runs.directory import RunDirectory, read_config
from moral_jax.runs.records import read_jsonl
from moral_jax.train import optim
from moral_jax.train.checkpoint import Checkpoints, Progress
from moral_jax.train.step import init_state
from moral_jax.types import UserError
from moral_jax.weights import export, load, tokenizer
from moral_jax.workflows import evaluate, local_model
from moral_jax.workflows import export as publish
from tests.helpers import tiny
from tests.weights import test_gguf

MODELS = {
    "tied": {"rope_theta": 5e5, "rope_scaling": Llama3Scaling(8.0, 1.0, 4.0, 64)},
    "untied": {"tied_embeddings": False},
}


def config_of(path, concentration="predicted", **changes) -> Config:
    """A run that a mesh of eight devices trained."""
    return Config(
        model=ModelConfig(path=str(path), unroll=1, **changes),
        task=TaskConfig(name="synthetic"),
        objective=ObjectiveConfig("dirichlet_multinomial", concentration),
        mesh=MeshConfig(data=2, fsdp=2, tensor=2),
        eval=EvalConfig(bootstrap=100, best_draws=10),
    )


def make_run(folder, config, seed=5):
    """A run directory as training leaves it, and the weights in it: random ones, unlike the model's own."""
    folder.mkdir()
    saved.save(config, folder / "config.json")
    model = local_model.find_model(config).model
    place = jax.tree.map(lambda leaf: leaf.sharding, api.abstract_params(model))
    params = jax.device_put(tiny.params(model, seed), place)
    host = jax.device_get(params)
    about = {"config": dataclasses.asdict(config)}
    with Checkpoints(folder / "checkpoints", about) as checkpoints:
        state = init_state(params, model, optim.make(OptimConfig(), 10))
        checkpoints.save(state, Progress(step=3, best_step=3, best_loss=0.5, finished=True))
        checkpoints.wait()
    return folder, host


@pytest.fixture(scope="module", params=MODELS)
def exported(request, tmp_path_factory):
    """(run, its weights, the export) of a tied and an untied model."""
    base = tmp_path_factory.mktemp(request.param)
    base_model = base / "model"
    base_model.mkdir()
    folder, params = make_run(base / "run", config_of(tiny.write_folder(base_model, **MODELS[request.param])))
    assert main.main(["export", str(folder), str(base / "out"), "--shard-mb=1"]) == 0
    return folder, params, base / "out"


def our_logits(folder, params, ids):
    """On one device, with the weights of the run."""
    config = read_config(folder)
    spec = load.read_spec(Path(config.model.path))
    model = tiny.model(spec, param_dtype=config.model.param_dtype, unroll=1)
    return jax.jit(read_out.vocabulary_logits, static_argnums=1)(params, model, jnp.asarray(ids))


def their_logits(out, ids):
    torch = pytest.importorskip("torch", reason="torch is the reference; [test] installs it on Python 3.11")
    transformers = pytest.importorskip("transformers")
    base_model = transformers.AutoModelForCausalLM.from_pretrained(
        out, dtype=torch.float32, attn_implementation="eager"
    )
    with torch.no_grad():
        return base_model.eval()(torch.from_numpy(ids)).logits.numpy()


def tokens(out):
    return np.random.default_rng(0).integers(0, load.read_spec(out).vocab, (1, 100))


def test_transformers_has_the_same_logits(exported):
    folder, params, out = exported
    ids = tokens(out)
    want = their_logits(out, ids)
    assert want.std() > 0.1
    np.testing.assert_allclose(our_logits(folder, params, ids), want, atol=1e-4, rtol=0)


def test_we_read_back_the_very_weights(exported):
    _, params, out = exported
    jax.tree.map(np.testing.assert_array_equal, tiny.load(out, load.read_spec(out)), params["decoder"])


def test_the_files_are_as_hugging_face_has_them(exported):
    _, params, out = exported
    index = json.loads((out / "model.safetensors.index.json").read_text())
    files = sorted(p.name for p in out.glob("model-*.safetensors"))
    assert set(index["weight_map"].values()) == set(files)
    assert index["metadata"]["total_size"] == sum(x.nbytes for x in jax.tree.leaves(params["decoder"]))
    with safe_open(out / files[0], "numpy") as f:
        assert f.metadata() == {"format": "pt"}
    config = json.loads((out / "config.json").read_text())
    assert config["dtype"] == "float32"
    assert ("lm_head.weight" in index["weight_map"]) == (not config["tie_word_embeddings"])
    assert config["architectures"] in (["LlamaForCausalLM"], ["MistralForCausalLM"])


def test_the_tokenizer_comes_along(exported):
    folder, _, out = exported
    mine, theirs = tokenizer.load(Path(read_config(folder).model.path)), tokenizer.load(out)
    text = "Was it wrong? A. Yes\n B. No <|end|> — naïve"
    assert theirs(text)["input_ids"] == mine(text)["input_ids"]
    assert theirs.chat_template == tiny.CHAT_TEMPLATE


def test_the_concentration_head_lies_beside(exported):
    _, params, out = exported
    jax.tree.map(np.testing.assert_array_equal, load_file(out / export.HEAD), params["head"])


def test_eval_of_the_export_gives_the_runs_probabilities(exported, tmp_path, capsys):
    folder, _, out = exported
    row = {"text": "She read her friend's diary.", "question": "Was it wrong?", "options": ["yes", "no"]}
    lines = [json.dumps(row | {"id": str(i), "counts": [i + 1, 7]}) for i in range(4)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    rows = tmp_path / "rows.jsonl"
    config = dataclasses.replace(read_config(folder), task=TaskConfig(name="votes"))
    evaluate.evaluate(config, tmp_path / "a", evaluate.NO_BUDGET, str(rows), RunDirectory(folder))
    settings = ["--config.task.name=votes", "--config.model.unroll=1", "--config.eval.bootstrap=100"]
    assert main.main(["eval", f"--model={out}", f"--path={rows}", f"--out={tmp_path / 'b'}", *settings]) == 0
    for mine, theirs in zip(*(read_jsonl(tmp_path / x / "answers" / "rows.jsonl") for x in "ab"), strict=True):
        np.testing.assert_allclose(mine["probabilities"], theirs["probabilities"], atol=1e-6)
        assert mine["option_mass"] == pytest.approx(theirs["option_mass"], rel=1e-4)
    capsys.readouterr()


def test_bfloat16(exported, tmp_path):
    folder, params, _ = exported
    publish.write(folder, tmp_path / "out", 1, "bfloat16")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"
    loaded = tiny.load(tmp_path / "out", load.read_spec(tmp_path / "out"))
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a, b.astype(ml_dtypes.bfloat16).astype(np.float32)),
        loaded,
        params["decoder"],
    )


def test_a_run_of_bfloat16_weights_stays_bfloat16(tiny_folder, tmp_path):
    folder, params = make_run(tmp_path / "run", config_of(tiny_folder, "fixed", param_dtype="bfloat16"))
    said = publish.write(folder, tmp_path / "out", 2048, None)
    assert "1 files of bfloat16 weights" in said
    assert not (tmp_path / "out" / export.HEAD).exists()
    tensors = load_file(tmp_path / "out" / "model-00001-of-00001.safetensors")
    assert {x.dtype for x in tensors.values()} == {np.dtype(ml_dtypes.bfloat16)}
    np.testing.assert_array_equal(tensors["model.embed_tokens.weight"], params["decoder"]["embedding"])


def test_a_run_that_never_trained_gives_its_model(tiny_folder, tmp_path):
    """On a machine that the run itself could not go on: neither its mesh nor its attention are there."""
    config = config_of(tiny_folder, attention="splash")
    (tmp_path / "run").mkdir()
    saved.save(dataclasses.replace(config, mesh=MeshConfig(data=64)), tmp_path / "run" / "config.json")
    publish.write(tmp_path / "run", tmp_path / "out", 1, None)
    spec = load.read_spec(tiny_folder)
    jax.tree.map(np.testing.assert_array_equal, tiny.load(tmp_path / "out", spec), tiny.load(tiny_folder, spec))
    assert not (tmp_path / "out" / export.HEAD).exists()


def test_a_model_from_gguf_gets_a_config(tiny_folder, tmp_path):
    of = dataclasses.replace(test_gguf.SPEC, vocab=load.read_spec(tiny_folder).vocab)
    path = test_gguf.write(tmp_path / "m.gguf", of, tiny.params(tiny.model(of))["decoder"])
    folder, params = make_run(tmp_path / "run", config_of(path, tokenizer=str(tiny_folder)))
    publish.write(folder, tmp_path / "out", 1, None)
    assert load.read_spec(tmp_path / "out") == of
    ids = tokens(tmp_path / "out")
    want = their_logits(tmp_path / "out", ids)
    np.testing.assert_allclose(our_logits(folder, params, ids), want, atol=1e-4, rtol=0)


def test_mistral(tiny_folder, tmp_path):
    """Its window too; the tokenizer is another's, because transformers would look for Mistral's own package."""
    of = {"family": "mistral", "sliding_window": 7, "tied_embeddings": False}
    base_model = tmp_path / "model"
    base_model.mkdir()
    config = config_of(tiny.write_folder(base_model, **of), "fixed", tokenizer=str(tiny_folder))
    folder, params = make_run(tmp_path / "run", config)
    publish.write(folder, tmp_path / "out", 1, None)
    ids = tokens(tmp_path / "out")
    want = their_logits(tmp_path / "out", ids)
    np.testing.assert_allclose(our_logits(folder, params, ids), want, atol=1e-4, rtol=0)


def test_links_to_code_are_left_behind(tiny_folder, tmp_path):
    base_model = tmp_path / "model"
    base_model.mkdir()
    tiny.write_folder(base_model)
    for file in ("config.json", "tokenizer_config.json"):
        value = json.loads((base_model / file).read_text())
        (base_model / file).write_text(json.dumps(value | {"auto_map": {"AutoTokenizer": ["evil--x.Y", None]}}))
    (tmp_path / "run").mkdir()
    saved.save(config_of(base_model), tmp_path / "run" / "config.json")
    publish.write(tmp_path / "run", tmp_path / "out", 1, None)
    assert not [p.name for p in (tmp_path / "out").glob("*.json") if "evil" in p.read_text()]


def is_gone(array: weakref.ref) -> bool:
    """Whether nothing holds an array; the threads that restored it may take a moment to let go."""
    deadline = time.monotonic() + 5
    while array() is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    return array() is None


def test_memory_holds_one_parameter_and_one_file(exported, tmp_path, monkeypatch):
    """What was read is gone before the next is read, and what a file takes is at most its size."""
    folder, params, _ = exported
    limit, held, files = 40_000, [], []
    real_read, real_save = Checkpoints.restore_param, export.save_file

    def read(self, step, path):
        assert all(is_gone(array) for array in held), f"{path} is read before what came before it is written"
        leaf = real_read(self, step, path)
        held.append(weakref.ref(leaf))
        return leaf

    def save(tensors, path, metadata):
        assert all(x.base is None for x in tensors.values()), "a view would keep a whole parameter"
        files.append((sum(x.nbytes for x in tensors.values()), len(tensors)))
        real_save(tensors, path, metadata)

    monkeypatch.setattr(Checkpoints, "restore_param", read)
    monkeypatch.setattr(export, "save_file", save)
    spec = load.read_spec(Path(read_config(folder).model.path))
    with Checkpoints(folder / "checkpoints") as checkpoints:

        def of_decoder(path):
            return checkpoints.restore_param(3, f"decoder/{path}")

        export.write_weights(of_decoder, parameters.entries(spec), params["decoder"], tmp_path, "float32", limit)
    assert len(held) == len(jax.tree.leaves(params["decoder"]))
    assert len(files) > 3
    assert all(size <= limit or tensors == 1 for size, tensors in files)


def test_a_failure_leaves_nothing_behind(exported, tmp_path, monkeypatch):
    folder, _, _ = exported

    def full(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(export, "save_file", full)
    with pytest.raises(OSError, match="no space"):
        publish.write(folder, tmp_path / "out", 1, None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["full"], "full: is not empty; name a new directory"),
        (["full/file"], "file: is not empty; name a new directory"),
        (["new", "--shard-mb=0"], "--shard-mb=0: expected at least 1"),
        (["new", "--whatever"], "--whatever: unknown argument"),
    ],
)
def test_where_it_cannot_go(exported, tmp_path, monkeypatch, capsys, arguments, message):
    folder, _, _ = exported
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("precious")
    assert main.main(["export", str(folder), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert [p.name for p in tmp_path.rglob("*")] == ["full", "file"]


def test_no_run(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        publish.write(tmp_path, tmp_path / "out", 1, None)


def test_the_card_lies_beside_the_weights(tmp_path, capsys):
    """With the numbers of the run, and the licence that its model's own card states; unknown is said where it is."""
    (tmp_path / "model").mkdir()
    run, _ = make_run(tmp_path / "run", config_of(tiny.write_folder(tmp_path / "model")))
    assert main.main(["export", str(run), str(tmp_path / "plain")]) == 0
    assert "No card" in capsys.readouterr().out  # nothing was scored
    assert not (tmp_path / "plain" / "README.md").exists()
    assert main.main(["export", str(run), str(tmp_path / "no"), "--base-licence=MIT"]) == 2
    assert "is for a card, and" in capsys.readouterr().err
    (run / "run.json").write_text('{"stages": ["trained"]}')
    (run / "trained").mkdir()
    numbers = {"kind": "texts", "split": "test", "rows": 7, "metrics": {"nll_per_token": {"value": 1.2347}}}
    (run / "trained" / "metrics.json").write_text(json.dumps(numbers))
    (tmp_path / "model" / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# A model\n")
    assert main.main(["export", str(run), str(tmp_path / "out"), "--dtype=bfloat16"]) == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "1.235" in card
    assert "CC-BY-NC-4.0, non-commercial" in card  # of the model
    assert "NOASSERTION, unknown" in card  # of the rows, of which nothing is recorded
    assert "may not be published as they are" in card
