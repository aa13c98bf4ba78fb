"""Tests data sets of the hub: their names, what is recorded of them, and what is said where they cannot be had."""

import types

import datasets
import huggingface_hub
import pytest
from huggingface_hub import errors

from moral_jax.config.task import FieldsConfig, TaskConfig
from moral_jax.tasks import hub, load
from moral_jax.types import UserError

ROWS = [
    {"id": str(i), "text": f"He left {i}.", "question": "Wrong?", "options": ["yes", "no"], "counts": [i, 1]}
    for i in range(20)
]


@pytest.mark.parametrize(
    ("path", "want"),
    [
        ("owner/name", ("owner/name", None, None, "train")),
        ("owner/name@abc123", ("owner/name", "abc123", None, "train")),
        ("owner/na-me.v2@v1.0/config_a:test", ("owner/na-me.v2", "v1.0", "config_a", "test")),
        ("owner/name:train[:10%]", ("owner/name", None, None, "train[:10%]")),
        ("folder/rows.jsonl", None),
        ("folder/rows.csv.gz", None),
        ("./owner/name", None),
        ("/owner/name", None),
        ("name", None),
    ],
)
def test_names(path, want):
    got = hub.parse(path)
    assert (None if got is None else tuple(got)) == want


def test_a_folder_of_that_name_goes_before_the_hub(tmp_path, monkeypatch):
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert hub.parse("owner/name") is None


@pytest.fixture
def served(monkeypatch):
    """Serves ROWS as any data set; returns the arguments that were asked for."""
    asked = []
    card = types.SimpleNamespace(license=["cc-by-4.0"])
    info = types.SimpleNamespace(sha="c0ffee", card_data=card)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: info)

    def load_dataset(repo, config, **how):
        asked.append((repo, config, how))
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def test_rows_commit_and_licence(served):
    data = load.load(TaskConfig(name="votes", path="owner/name@main/parts:test", fields=FieldsConfig()))
    assert sorted(int(e.counts[0]) for e in [*data.train, *data.validation, *data.test]) == list(range(20))
    assert served == [("owner/name", "parts", {"split": "test", "revision": "c0ffee"})]
    assert data.provenance["sha256"] == {"owner/name@main/parts:test": "c0ffee"}
    assert data.provenance["licence"] == "cc-by-4.0"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (datasets.exceptions.DatasetNotFoundError("x hf_secret"), "neither a local file or folder nor a data set"),
        (
            ValueError("Unknown split 'tst'. Should be one of ['train', 'test']."),
            r"no such config or split; there are \['train",
        ),
        (
            ConnectionError("https://x?token=hf_secret"),
            r"could not be fetched .*\(ConnectionError\); .*with no network",
        ),
        (
            errors.GatedRepoError("hf_secret", response=types.SimpleNamespace(headers={}, request=None)),
            "terms must be accepted",
        ),
    ],
)
def test_what_cannot_be_had_is_named_without_secrets(served, monkeypatch, error, message):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(UserError, match=message) as caught:
        load.load(TaskConfig(name="votes", path="owner/name"))
    assert "hf_secret" not in str(caught.value)
    assert "owner/name:train" in str(caught.value)
    assert caught.value.__cause__ is None


def test_without_a_network_the_cache_is_asked(served, monkeypatch):
    def refuse(*_, **__):
        raise errors.OfflineModeIsEnabled("offline")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", refuse)
    data = load.load(TaskConfig(name="votes", path="owner/name@abc"))
    assert served[0][2]["revision"] == "abc"
    assert data.provenance["sha256"] == {"owner/name@abc:train": "abc"}
