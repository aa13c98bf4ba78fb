"""Tiny models and batches for tests."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from moral_jax import sharding
from moral_jax.config import Config
from moral_jax.config.evaluate import EvalConfig
from moral_jax.config.model import AdapterConfig, MeshConfig, ModelConfig
from moral_jax.config.task import TaskConfig
from moral_jax.config.train import DataConfig, ObjectiveConfig, OptimConfig, TrainConfig
from moral_jax.models import api, parameters, read_out
from moral_jax.models.rope import Llama3Scaling, Rope
from moral_jax.models.spec import ComputeOptions, DecoderSpec, EncoderSpec, LayerKind, Spec
from moral_jax.tasks import synthetic
from moral_jax.types import Array, Batch, Options, OptionScores, Params, Tokens
from moral_jax.weights import load as weights
from moral_jax.weights import shard_slices

CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIALS = ["<|unk|>", "<|bos|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]


def spec(**changes: object) -> DecoderSpec:
    """Returns a decoder of three layers with grouped heads and a head size that is not D / N.

    Without `kinds`, all layers have one window and one rotation, of `sliding_window`, `rope_theta`, `rope_scaling`.
    With `kinds` of more layers, the lowest are taken.
    """
    values = {
        "family": "llama",
        "vocab": 97,
        "layers": 3,
        "width": 32,
        "heads": 4,
        "kv_heads": 2,
        "head_size": 12,
        "mlp_width": 48,
        "norm": "rms",
        "norm_eps": 1e-5,
        "norms": "before",
        "head_norm": "none",
        "fused": False,
        "qkv_bias": False,
        "out_bias": False,
        "mlp_bias": False,
        "activation": "silu",
        "gated": True,
        "score_softcap": None,
        "embedding_scale": 1.0,
        "logit_softcap": None,
        "tied_embeddings": True,
        "unembedding_bias": False,
        "max_positions": 4096,
    } | changes
    values.setdefault("score_scale", values["head_size"] ** -0.5)
    theta, scaling = values.pop("rope_theta", 10_000.0), values.pop("rope_scaling", None)
    alike = LayerKind(values.pop("sliding_window", None), Rope(theta, values["head_size"], scaling))
    kinds = values.get("kinds", (alike,) * values["layers"])
    return DecoderSpec(**{**values, "kinds": kinds[: values["layers"]]})


def encoder_spec(**changes: object) -> EncoderSpec:
    """Returns an encoder of three layers with two token types."""
    values = {
        "family": "bert",
        "vocab": 97,
        "layers": 3,
        "width": 32,
        "heads": 4,
        "mlp_width": 48,
        "norm": "layer",
        "norm_eps": 1e-12,
        "norms": "sum",
        "first_apart": False,
        "fused": False,
        "qkv_bias": True,
        "mlp_bias": True,
        "pooler_bias": True,
        "activation": "gelu",
        "gated": False,
        "distances": None,
        "learned_positions": True,
        "pooler": "tanh",
        "pooler_norm": False,
        "token_types": 2,
        "first_position": 0,
        "max_positions": 128,
    } | changes
    kinds = values.get("kinds", (LayerKind(None, None),) * values["layers"])
    return EncoderSpec(**{**values, "kinds": kinds[: values["layers"]]})


ROBERTA = {"family": "roberta", "token_types": 1, "first_position": 2, "norm_eps": 1e-5}


def model(of: Spec, **changes: object) -> api.Model:
    """Returns a model. `changes` set fields of ComputeOptions and of Model; one device if no mesh is given."""
    how = {f.name: changes.pop(f.name) for f in dataclasses.fields(ComputeOptions) if f.name in changes}
    compute = ComputeOptions(**{"mesh": mesh(1, 1, 1)} | how)
    adapter = changes.pop("adapter", AdapterConfig())
    quantize = changes.pop("quantize", "none")
    changes = {"concentration": "fixed", "initial_concentration": 2.0, "score_rows": 0} | changes
    return api.Model(of, compute, quantize=quantize, adapter=adapter, **changes)


def options_and_mass(params: Params, of: api.Model, batch: Batch) -> tuple[OptionScores, Array | None]:
    """Returns the option read-out of one forward pass, and the log of the options' total probability."""
    read = read_out.read_out(params, of, batch)
    scores = read.options()
    return scores, read.log_option_mass(scores)


def load(path: Path, of: Spec) -> Params:
    """Loads the float32 parameters of the backbone from a file, on one device."""
    return weights.load(path, of, api.abstract_params(model(of))[of.backbone], piece_bytes=4096)


def mesh(data: int, fsdp: int, tensor: int) -> Mesh:
    """Returns a mesh of the first data * fsdp * tensor devices."""
    return sharding.make_mesh(MeshConfig(data, fsdp, tensor), jax.devices()[: data * fsdp * tensor])


def params(of: api.Model, seed: int = 0, scale: float = 0.12) -> Params:
    """Returns random parameters, larger than at initialisation, so that attention and logits are far from flat."""
    rng = np.random.default_rng(seed)

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        is_scale = path[-1].key in ("scale", "magnitude")
        drawn = rng.normal(1.0 if is_scale else 0.0, 0.1 if is_scale else scale, leaf.shape)
        return jax.device_put(drawn.astype(leaf.dtype), leaf.sharding)

    drawn = jax.tree_util.tree_map_with_path(draw, api.abstract_params(dataclasses.replace(of, quantize="none")))
    kept = {path: api.quantize_or_cast(leaf, path, of) for path, leaf in weights.flat(drawn[of.backbone]).items()}
    return drawn | {of.backbone: weights.nest(kept)}


def layer(decoder: Params, index: int) -> Params:
    """Returns the parameters of one layer."""
    stacked = decoder["layers"]["mlp"]["down"]["kernel"].shape[0] if "layers" in decoder else 0
    return jax.tree.map(lambda x: x[index], decoder["layers"]) if index < stacked else decoder["last_layer"]


def cut(decoder: Params, layers: int) -> Params:
    """Returns a decoder of the first `layers` layers."""
    first = [layer(decoder, i) for i in range(layers)]
    stack = {"layers": jax.tree.map(lambda *x: np.stack(x), *first[:-1])} if layers > 1 else {}
    return {k: v for k, v in decoder.items() if k != "layers"} | stack | {"last_layer": first[-1]}


def run_config(folder: Path, **sections: object) -> Config:
    """Returns the config of a short run of the model in a folder, with checkpoints between validations."""
    of = {
        # gives equal numbers on every machine
        "model": ModelConfig(path=str(folder), product_dtype="float32", unroll=1),
        "task": TaskConfig(name="synthetic", limit=16),
        "data": DataConfig(length=224, batch_size=3, micro_batch_size=1),  # on several devices some rows are empty
        "objective": ObjectiveConfig("dirichlet_multinomial", "predicted"),
        "optim": OptimConfig(lr=3e-3),
        "train": TrainConfig(epochs=2, eval_every=7, checkpoint_every=3),
        "eval": EvalConfig(bootstrap=100, best_draws=10),
    }
    return Config(**{**of, **sections})


def questions(rng: np.random.Generator, count: int, vocab: int, options: int = 2) -> list[dict]:
    """Returns random questions of different lengths."""
    out = []
    for _ in range(count):
        ids = rng.permutation(vocab)[: 2 * options].reshape(options, 2)
        out.append(
            {
                "tokens": rng.integers(0, vocab, rng.integers(5, 14)),
                "option_ids": ids,
                "counts": rng.integers(0, 6, options).astype(float) + np.eye(options)[0],
                "weight": float(rng.uniform(0.5, 2)),
            }
        )
    return out


def each(rng: np.random.Generator, count: int, vocab: int) -> list[dict]:
    """Returns random questions with a text for each option, for a score head of one row. Texts share no prefix."""
    asked = questions(rng, count, vocab)
    for question in asked:
        question["texts"] = [rng.integers(0, vocab, rng.integers(4, 9)) for _ in range(2)]
        question["option_ids"] = np.array([[0, -1], [0, -1]])
    return asked


def lay_out(
    rows: list[list[dict]], length: int, slots: int, shared: np.ndarray | None = None, is_encoder: bool = False
) -> Batch:
    """Packs questions into rows by hand, independently of the product's packing."""
    shared = np.empty(0, int) if shared is None else shared
    B, C, texts = len(rows), 2, max(len(q.get("texts", [0])) for row in rows for q in row)
    batch = Batch(
        Tokens(
            np.zeros((B, length), np.int32),
            np.zeros((B, length), np.int32),
            np.ones((B, length), np.int32),
            np.zeros((B, length), np.int32),
            np.zeros((B, length), np.int32),
        ),
        Options(
            np.zeros((B, slots * texts), np.int32),
            np.zeros((B, slots, C), np.int32),
            np.full((B, slots, C, 2), -1, np.int32),
            np.zeros((B, slots, C), np.float32),
            np.zeros((B, slots), np.float32),
            np.full((B, slots), -1, np.int32),
        ),
    )
    for b, row in enumerate(rows):
        n = len(shared)
        batch.tokens.tokens_BT[b, :n], batch.tokens.segments_BT[b, :n] = shared, 1
        batch.tokens.ends_BT[b, :n] = 2 + len(row) * texts
        batch.tokens.positions_BT[b, :n] = np.arange(n)
        at = n
        for q, question in enumerate(row):
            for i, tokens in enumerate(question.get("texts", [question["tokens"]])):
                size, a = len(tokens), q * texts + i
                here = slice(at, at + size)
                batch.tokens.tokens_BT[b, here], batch.tokens.segments_BT[b, here] = tokens, 2 + a
                batch.tokens.ends_BT[b, here], batch.tokens.positions_BT[b, here] = 3 + a, n + np.arange(size)
                at += size
                batch.asks.read_BA[b, a] = here.start if is_encoder else here.stop - 1
            batch.asks.read_of_option_BQC[b, q] = q * texts + np.arange(C) % texts
            batch.asks.option_ids_BQCW[b, q] = question["option_ids"]
            batch.asks.counts_BQC[b, q] = question["counts"]
            batch.asks.weights_BQ[b, q] = question["weight"]
            batch.asks.items_BQ[b, q] = 0
    return batch


def hf_encoder_config(of: EncoderSpec) -> dict:
    """Returns the config.json of an encoder, as transformers 5 writes it."""
    return {
        "model_type": of.family,
        "vocab_size": of.vocab,
        "hidden_size": of.width,
        "intermediate_size": of.mlp_width,
        "num_hidden_layers": of.layers,
        "num_attention_heads": of.heads,
        "hidden_act": "gelu",
        "layer_norm_eps": of.norm_eps,
        "type_vocab_size": of.token_types,
        "pad_token_id": max(0, of.first_position - 1),
        "max_position_embeddings": of.first_position + of.max_positions,
    }


def hf_config(of: DecoderSpec) -> dict:
    """Returns the config.json of a Llama or Mistral, as transformers 5 writes it."""
    window, turn = of.kinds[0]
    rope = {"rope_type": "default", "rope_theta": turn.theta}
    if isinstance(s := turn.scaling, Llama3Scaling):
        rope = {
            "rope_type": "llama3",
            "rope_theta": turn.theta,
            "factor": s.factor,
            "low_freq_factor": s.low_freq_factor,
            "high_freq_factor": s.high_freq_factor,
            "original_max_position_embeddings": s.original_max_positions,
        }
    return {
        "model_type": of.family,
        "architectures": ["LlamaForCausalLM" if of.family == "llama" else "MistralForCausalLM"],
        "vocab_size": of.vocab,
        "hidden_size": of.width,
        "intermediate_size": of.mlp_width,
        "num_hidden_layers": of.layers,
        "num_attention_heads": of.heads,
        "num_key_value_heads": of.kv_heads,
        "head_dim": of.head_size,
        "hidden_act": "silu",
        "rms_norm_eps": of.norm_eps,
        "rope_parameters": rope,
        "sliding_window": window,
        "tie_word_embeddings": of.tied_embeddings,
        "max_position_embeddings": of.max_positions,
    }


def hf_tensors(of: Spec, backbone: Params) -> dict[str, np.ndarray]:
    """Returns parameters under their Hugging Face names and in the layout of Hugging Face."""
    out = {}
    leaves = weights.flat(backbone)
    for entry in parameters.entries(of):
        whole = np.asarray(leaves[entry.path])
        names = shard_slices.sources(entry, is_gguf=False)
        per_layer = dict(zip(names, whole if entry.stacked else [whole], strict=True))
        out |= {name: np.ascontiguousarray(x.T if entry.transpose else x) for name, x in per_layer.items()}
    return out


def write_tokenizer(folder: Path) -> int:
    """Trains a small byte-level BPE on the synthetic actions; returns the size of the vocabulary."""
    tokenizer = Tokenizer(models.BPE(unk_token="<|unk|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    letters = [f"{c} {c}" for c in "ABCDEFGHYN"] * 50  # makes " A" a token, as in real vocabularies
    tokenizer.train_from_iterator([a for a, _ in synthetic.read_actions()] + letters, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<|unk|>", bos_token="<|bos|>", eos_token="<|end|>", pad_token="<|end|>"
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
    return len(fast)


def write_folder(folder: Path, seed: int = 0, **changes: object) -> Path:
    """Writes a complete model folder."""
    of = spec(vocab=write_tokenizer(folder), **changes)
    decoder = params(model(of), seed)["decoder"]
    (folder / "config.json").write_text(json.dumps(hf_config(of)))
    save_file(hf_tensors(of, decoder), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def write_encoder_folder(folder: Path, seed: int = 0, **changes: object) -> Path:
    """Writes a complete encoder folder; the tokenizer has BERT's special tokens around texts and between pairs."""
    words = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    words.normalizer, words.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=300, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], show_progress=False
    )
    words.train_from_iterator([a for a, _ in synthetic.read_actions()], trainer)
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    fast = PreTrainedTokenizerFast(tokenizer_object=words, **names)
    fast.save_pretrained(folder)
    of = encoder_spec(vocab=len(fast), **changes)
    encoder = params(model(of), seed)["encoder"]
    (folder / "config.json").write_text(json.dumps(hf_encoder_config(of)))
    save_file(hf_tensors(of, encoder), folder / "model.safetensors", metadata={"format": "pt"})
    return folder
