"""Licence expressions, their classes, and what a data.toml may say."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moral_jax.config import parsing
from moral_jax.tasks import declared, known, licences
from moral_jax.types import UserError
from tests.helpers.documents import declare

NAMES = ("MIT", "Apache-2.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-ND-4.0", "ODbL-1.0", "GPL-3.0-only", "NONE",
         "NOASSERTION", "LicenseRef-survey-terms")  # fmt: skip


def test_golden():
    found = licences.parse("MIT AND CC-BY-SA-4.0")
    assert found.expression == "MIT AND CC-BY-SA-4.0"
    assert found.obligations == {"attribution", "share-alike"}
    assert not found.forbidding
    with pytest.raises(UserError, match=r"^Unknown license key\(s\): Apache 2$"):
        licences.parse("Apache 2")
    assert licences.parse("CC-BY-NC-SA-4.0").forbidding == ["non-commercial"]


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("LicenseRef-foo AND MIT", {"unknown", "permissive"}),
        ("NONE", {"unknown"}),
        ("NOASSERTION", {"unknown"}),
        ("CC-BY-NC-ND-3.0", {"attribution", "non-commercial", "no-derivatives"}),
        ("MIT AND (CC-BY-ND-4.0 OR GPL-2.0-only)", {"permissive", "share-alike"}),  # one may choose the GPL
        ("NOASSERTION OR MIT", {"permissive"}),
        ("LicenseRef-research-only", {"research-only"}),
        ("ODbL-1.0", {"share-alike", "attribution"}),
        ("Artistic-2.0", {"unknown"}),  # of no class that is known here
    ],
)
def test_classes(text, classes):
    assert licences.parse(text).classes == classes


@pytest.mark.parametrize("text", ["", "MIT AND", "CC BY 4.0", "NONESUCH", "MIT, Apache-2.0", "Apache-2.0 AND Nope"])
def test_what_is_no_expression(text):
    with pytest.raises(UserError):
        licences.parse(text)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=5))
def test_together_is_and(names):
    """What several ask together is what their AND asks, and its own expression reads back the same."""
    parts = [licences.parse(name) for name in names]
    both, joined = licences.together(parts), licences.parse(" AND ".join(names))
    assert both.classes == joined.classes == frozenset().union(*(p.classes for p in parts))
    assert licences.parse(joined.expression) == joined
    of_or = licences.parse(" OR ".join(names))
    assert len(of_or.forbidding) == min(len(p.forbidding) for p in parts)


def test_words_that_were_recorded_are_unknown_and_shown():
    found = licences.recorded("code Apache-2.0, texts for research")
    assert (found.classes, found.said) == ({"unknown"}, "NOASSERTION (code Apache-2.0, texts for research)")
    assert licences.recorded("cc-by-4.0, mit").expression == "CC-BY-4.0 AND MIT"  # several of the hub
    assert licences.recorded("llama3.1").expression == "LicenseRef-llama3.1"
    assert licences.recorded("other").classes == {"unknown"}


@pytest.mark.parametrize("key", declared.NEEDED)
def test_a_key_that_is_missing_is_named(tmp_path, key):
    file = declare(tmp_path, **{key: None})
    with pytest.raises(UserError, match=f"{file}: {key}: found None, expected"):
        declared.read(file)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use": "all"}, "use: found 'all', expected one of train, test, example"),
        ({"personal_data": None}, "personal_data: is not there"),
        ({"personal_data": "no"}, "personal_data: found 'no', expected true or false"),
        ({"version": None}, "version: expected version"),
        ({"sha256": "0" * 64}, "version: expected version"),
        ({"license": "MIT"}, "license: no such key; there are name"),
    ],
)
def test_a_wrong_key_is_named(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        declared.read(declare(tmp_path, **changes))


def test_one_file_may_differ_from_its_folder(tmp_path):
    file = declare(tmp_path)
    file.write_text(file.read_text() + '\n[files."held.jsonl"]\nuse = "test"\nlicence = "CC-BY-NC-4.0"\n')
    assert declared.read(file, "other.jsonl").use == "train"
    own = declared.read(file, "held.jsonl")
    assert (own.use, own.licence, own.name) == ("test", "CC-BY-NC-4.0", "Panel votes")


def test_the_terms_of_shipped_configs_are_those_of_the_table():
    terms = {one.name: one.licence for one in known.KNOWN}
    for name in ("moca", "unimoral", "mfv_clifford", "globalopinionqa", "opinionqa", "wvs_moral"):
        task = parsing.from_flags([f"--config=votes/{name}", "--config.task.path=rows.jsonl"]).task
        assert task.licence == terms[name], name
        assert task.source.startswith("https://"), name
