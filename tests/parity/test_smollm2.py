"""The real SmolLM2 file against transformers' own GGUF loader: logits, tokenizer, chat template."""

import functools

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moral_jax.config.task import PromptConfig
from moral_jax.models import api, read_out
from moral_jax.prompts.render import make_renderer
from moral_jax.weights import load, tokenizer
from tests.helpers import examples, tiny

torch = pytest.importorskip("torch", reason="torch is the reference; [test] installs it on Python 3.11")
pytest.importorskip("accelerate", reason="transformers needs it to read GGUF; [test] installs it")
transformers = pytest.importorskip("transformers")

TEXT = (
    "Which of these two actions is less ethical?\n\nA. telling my friend he needs to stop feeling sorry for himself\n"
    "B. keeping 1,250 dollars that weren't mine   (found in 2019!)\n\tNaïve café — 你好, I'll wait… "
)


@pytest.fixture(scope="module", autouse=True)
def read_once():
    """The reference reads the file for each of its three parts, and makes one table of names for every tensor."""
    with pytest.MonkeyPatch.context() as patch:
        for slow in ("GGUFReader", "get_tensor_name_map"):
            patch.setattr(gguf, slow, functools.cache(getattr(gguf, slow)))
        yield


@pytest.fixture(scope="module")
def words(smollm2):
    return tokenizer.load(smollm2)


@pytest.fixture(scope="module")
def reference_words(smollm2):
    return transformers.AutoTokenizer.from_pretrained(smollm2.parent, gguf_file=smollm2.name)


def test_tokens(words, reference_words, dilemmas):
    texts = [TEXT, "", " ", "A", " A", *dilemmas.read_text().splitlines()[:200]]
    for text in texts:
        assert words(text)["input_ids"] == reference_words(text)["input_ids"], text
        assert words.decode(words(text)["input_ids"]) == text


def test_special_tokens_stay_whole(words):
    assert words("<|im_start|>user\nhi<|im_end|>")["input_ids"][0] == words.bos_token_id == 1
    assert words.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"]) == [1, 2]


def test_chat_template(words, reference_words):
    turns = [{"role": "user", "content": "Is it wrong?"}]
    got, want = (
        w.apply_chat_template(turns, tokenize=False, add_generation_prompt=True) for w in (words, reference_words)
    )
    assert got == want
    assert got.endswith("<|im_start|>assistant\n")


@pytest.fixture(scope="module")
def prompts(words, dilemmas) -> tuple[np.ndarray, np.ndarray]:
    """Real prompts, padded to one length, and which tokens are theirs: some 270 of them."""
    chat = functools.partial(words.apply_chat_template, tokenize=False, add_generation_prompt=True)
    render = make_renderer(PromptConfig(), "dilemmas", chat)
    ids = [words(render(e, (0, 1)).text)["input_ids"] for e in examples.dilemmas(dilemmas)[:4]]
    length = max(map(len, ids))
    return np.array([i + [0] * (length - len(i)) for i in ids]), np.array(
        [[n < len(i) for n in range(length)] for i in ids]
    )


@pytest.fixture(scope="module")
def reference(smollm2, prompts) -> tuple[np.ndarray, np.ndarray]:
    """Logits of transformers' own loader in float32, and of the same weights in float64."""
    ids, real = prompts
    read = transformers.AutoModelForCausalLM.from_pretrained(
        smollm2.parent, gguf_file=smollm2.name, dtype=torch.float32
    )
    hf_model = transformers.LlamaForCausalLM(read.config).eval()  # a copy that may change its type
    hf_model.load_state_dict(read.state_dict())
    with torch.no_grad():
        rounded = hf_model(torch.from_numpy(ids)).logits.numpy()[real]
        return rounded, hf_model.double()(torch.from_numpy(ids)).logits.numpy()[real]


@pytest.fixture(scope="module")
def loaded(smollm2):
    """The spec and the float32 parameters of the decoder."""
    spec = load.read_spec(smollm2)
    like = api.abstract_loaded(tiny.model(spec), trained=True)
    return spec, load.load(smollm2, spec, like, piece_bytes=64 << 20)


def our_logits(loaded, prompts, dtype: str) -> np.ndarray:
    (spec, decoder), (ids, real) = loaded, prompts
    model = tiny.model(spec, dtype=dtype)
    params = jax.tree.map(lambda x: jnp.asarray(np.asarray(x), dtype), api.init_heads_and_adapters(decoder, model, 0))
    return np.asarray(jax.jit(read_out.vocabulary_logits, static_argnums=1)(params, model, jnp.asarray(ids)))[real]


def test_logits_in_float64(loaded, prompts, reference, record_property):
    """The same function: with activations in float64 on both sides, only our float32 islands round."""
    assert len(reference[1]) >= 250
    assert reference[1].std() > 1
    with jax.enable_x64(True):
        got = our_logits(loaded, prompts, "float64")
    np.testing.assert_allclose(got, reference[1], atol=1e-4, rtol=0)
    largest = float(np.abs(got - reference[1]).max())
    record_property("parity", ["SmolLM2-135M-Instruct (Q4_1)", "real, in float64", len(got), largest])


def test_logits_in_float32(loaded, prompts, reference):
    """At 30 layers and logits of 20 to 30, the reference's own float32 rounding is most of 1e-4. It is measured here
    against float64 and added to the 1e-4 that is ours."""
    rounded, exact = reference
    own = np.abs(rounded - exact).max()
    assert 1e-5 < own < 1e-4
    got = our_logits(loaded, prompts, "float32")
    np.testing.assert_allclose(got, rounded, atol=1e-4 + own, rtol=0)
    assert np.sqrt(np.mean((got - exact) ** 2)) < 2 * np.sqrt(np.mean((rounded - exact) ** 2))
