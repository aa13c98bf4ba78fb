"""What is installed: ranges in pyproject.toml, and one list of versions and hashes that lies in them."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PINS = "constraints-3.11.txt"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENTRY = re.compile(r"^(\S+)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", re.M)


def pins():
    return {name: Version(version) for name, version, _ in ENTRY.findall((ROOT / PINS).read_text())}


def requirements():
    """Of the core and the tests, where Python is 3.11."""
    extras = PROJECT["optional-dependencies"]
    lines = PROJECT["dependencies"] + [
        line for name in ("test", "study", "plan", "values", "judges") for line in extras[name]
    ]
    found = [Requirement(line) for line in lines if not line.startswith("moral-jax")]
    return [r for r in found if r.marker is None or r.marker.evaluate({"python_version": "3.11"})]


def test_every_line_is_a_version_with_its_hashes_and_says_no_place():
    assert ENTRY.sub("", (ROOT / PINS).read_text()).strip() == ""


def test_every_dependency_is_pinned_within_its_range():
    held = pins()
    assert len(requirements()) > 20
    for r in requirements():
        assert held[canonicalize_name(r.name)] in r.specifier, r


def test_every_dependency_has_a_least_version():
    for r in requirements():
        assert {s.operator for s in r.specifier} & {">=", "=="}, r
