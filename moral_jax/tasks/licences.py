"""What a licence asks of whoever publishes what was made with a work. This is bookkeeping, not legal advice.

A licence is an SPDX expression: "MIT AND CC-BY-SA-4.0". SPDX has no name for many terms of data and models: these are
written as LicenseRef-NAME. NONE says that no licence is granted, NOASSERTION that nobody has said which. Every licence
falls into classes; what is known of none of its classes is unknown.
"""

import functools
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from moral_jax.types import UserError

PERMISSIVE, ATTRIBUTION, SHARE_ALIKE = "permissive", "attribution", "share-alike"
NO_DERIVATIVES, NON_COMMERCIAL, RESEARCH_ONLY, UNKNOWN = "no-derivatives", "non-commercial", "research-only", "unknown"
CLASSES = (PERMISSIVE, ATTRIBUTION, SHARE_ALIKE, NO_DERIVATIVES, NON_COMMERCIAL, RESEARCH_ONLY, UNKNOWN)
FORBIDDING = (NO_DERIVATIVES, NON_COMMERCIAL, RESEARCH_ONLY, UNKNOWN)  # publishing needs --accept=NAME
NONE, NOASSERTION = "NONE", "NOASSERTION"
UNPARSED = re.compile(r"\b(LicenseRef-[\w.-]+|NONE|NOASSERTION)(?![\w.-])")  # the parser refuses these
WORD = re.compile(r"[\w.+-]+")
COMMA = re.compile(r"\s*,\s*")
FAMILIES = (  # the first that an SPDX name begins with
    (PERMISSIVE, ("MIT", "Apache-", "BSD-", "0BSD", "ISC", "Zlib", "CC0-", "PDDL-", "Unlicense", "CC-PDDC",
                  "CDLA-Permissive-", "PostgreSQL", "Python-", "PSF-", "BSL-", "AFL-", "WTFPL", "NCSA")),
    (ATTRIBUTION, ("ODC-By-", "OGL-UK-", "etalab-")),
    (SHARE_ALIKE, ("GPL-", "LGPL-", "AGPL-", "MPL-", "EPL-", "EUPL-", "ODbL-", "GFDL-", "CDLA-Sharing-", "OSL-")),
)  # fmt: skip
OF_CC = {"BY": ATTRIBUTION, "SA": SHARE_ALIKE, "ND": NO_DERIVATIVES, "NC": NON_COMMERCIAL}
CREATIVE_COMMONS = re.compile(r"CC-((?:BY|SA|ND|NC|-)+)-\d.*")
REFERENCES = {"LicenseRef-research-only": RESEARCH_ONLY, "LicenseRef-AI2-ImpACT-MR": RESEARCH_ONLY}
OF_HUB = {"other": NOASSERTION, "unknown": NOASSERTION, "odc-by": "ODC-By-1.0", "bsd": "BSD-3-Clause"}


class Licence(NamedTuple):
    """A licence: its expression, its classes, and what stood there if that is none."""

    expression: str
    classes: frozenset[str]
    words: str = ""

    @property
    def said(self) -> str:
        """The expression, with the words that were recorded in place of one."""
        return f"{self.expression} ({self.words})" if self.words else self.expression

    @property
    def obligations(self) -> frozenset[str]:
        """The classes that ask for something."""
        return self.classes - {PERMISSIVE}

    @property
    def forbidding(self) -> list[str]:
        """The classes for which publishing needs a person's word."""
        return [name for name in FORBIDDING if name in self.classes]


def class_of(name: str) -> frozenset[str]:
    """Returns the classes of one licence."""
    if match := CREATIVE_COMMONS.fullmatch(name):
        return frozenset(OF_CC[part] for part in match[1].split("-"))
    if name in REFERENCES:
        return frozenset({REFERENCES[name]})
    for family, beginnings in FAMILIES:
        if name.startswith(beginnings):
            # a database or document that is shared alike names its authors too
            both = family == SHARE_ALIKE and name.startswith(("ODbL-", "GFDL-"))
            return frozenset({family, ATTRIBUTION} if both else {family})
    return frozenset({UNKNOWN})


def _classes(node: Any, names: dict[str, str]) -> frozenset[str]:
    """Returns the classes of an expression: of AND all, of OR those of the part that forbids and asks least."""
    if not getattr(node, "args", ()):
        key = str(getattr(node, "license_symbol", node).key)
        return class_of(names.get(key, key))
    parts = [_classes(part, names) for part in node.args]
    if node.operator.strip() == "OR":
        return min(parts, key=lambda classes: (len(classes & {*FORBIDDING}), len(classes), sorted(classes)))
    return frozenset().union(*parts)


@functools.cache
def _spdx() -> Any:
    """Returns the parser, which takes a while to read all names: other commands need not wait for it."""
    import license_expression

    return license_expression.get_spdx_licensing()


def parse(text: str) -> Licence:
    """Returns the licence of an SPDX expression.

    Raises:
      UserError: it is none, or names a licence that SPDX does not know; the parser's words.
    """
    import license_expression

    names: dict[str, str] = {}

    def taken_out(match: re.Match[str]) -> str:
        name = f"taken-out-{len(names)}-here"
        names[name] = match[0]
        return name

    spdx = _spdx()
    try:
        found = spdx.parse(UNPARSED.sub(taken_out, text))
        unknown = [key for key in spdx.unknown_license_keys(found) if key not in names] if found is not None else []
    except (license_expression.ExpressionError, license_expression.ExpressionParseError) as e:
        raise UserError(f"{text!r} is no licence expression: {e}") from None
    if found is None:
        raise UserError("no licence is named")
    if unknown:
        raise UserError(f"Unknown license key(s): {', '.join(unknown)}")
    said = str(found)
    for key, name in names.items():
        said = said.replace(key, name)
    return Licence(said, _classes(found, names))


def recorded(text: str) -> Licence:
    """Returns the licence that a run, a model or a data set has recorded, maybe in words: then it is unknown.

    The hub's names that SPDX lacks become LicenseRef-NAME; several, with a comma between, hold together.
    """
    if not text.strip():
        return Licence(NOASSERTION, frozenset({UNKNOWN}))
    found = []
    for part in COMMA.split(text.strip()):
        try:
            found.append(parse(OF_HUB.get(part, part)))
        except UserError:
            if not WORD.fullmatch(part):
                return Licence(NOASSERTION, frozenset({UNKNOWN}), text.strip())
            found.append(parse(f"LicenseRef-{part.replace('_', '-').replace('+', '-')}"))
    return together(found)


def together(licences: Iterable[Licence]) -> Licence:
    """Returns what several licences ask together."""
    known = list(licences)
    expressions = dict.fromkeys(one.expression for one in known)
    joined = [f"({e})" if " " in e and len(expressions) > 1 else e for e in expressions]
    return Licence(" AND ".join(joined), frozenset().union(*(one.classes for one in known)))
