"""Settings of the documentation site, which `sphinx-build -W -c docs . site` builds without a network and without JAX.

Its pages are the Markdown files that the repository shows, as they are. The reference is read from the docstrings:
nothing is imported.
"""

import re
from pathlib import Path

project, author, html_title = "moral_jax", "the moral_jax authors", "moral_jax"
root = Path(__file__).resolve().parents[1]
release = re.search(r'__version__ = "(.+)"', (root / "moral_jax" / "__init__.py").read_text())[1]

extensions = ["myst_parser", "autoapi.extension", "sphinx.ext.napoleon"]
root_doc = "docs/README"
include_patterns = ["*.md", "docs/**"]
html_theme = "furo"
html_copy_source = False
html_show_copyright = False

myst_heading_anchors = 4
default_role = "code"  # what a docstring puts between backticks
napoleon_use_rtype = False

autoapi_dirs = [str(root / "moral_jax")]
autoapi_root = "docs/reference"
autoapi_ignore = ["*/configs/*", "*/__main__.py"]
autoapi_options = ["members", "show-module-summary"]
autoapi_add_toctree_entry = False
autoapi_keep_files = False
autoapi_member_order = "bysource"
suppress_warnings = [
    "autoapi.python_import_resolution",  # constants of other modules
    "ref.python",  # a field's type that two modules define
]

REFERENCE = "\n\n## Reference\n\n[All modules](reference/moral_jax/index.rst), from their docstrings."


def _add_margin(_, page: str, source: list[str]) -> None:
    """Adds the site's margin to the index: the links of each of its sections, under the title of the section.

    The reference is linked from the index and not part of the margin: every page would repeat all of its modules.
    """
    if page.startswith("docs/reference/"):
        source[0] = f":orphan:\n\n{source[0]}"
    if page != root_doc:
        return
    _, *parts = re.split(r"^## (.+)$", source[0], flags=re.MULTILINE)
    source[0] += REFERENCE
    for title, text in zip(parts[::2], parts[1::2], strict=True):
        pages = "\n".join(re.findall(r"^- .*?\]\((.+?)\.md\)", text, re.MULTILINE))
        source[0] += f"\n\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n{pages}\n```"


def _escape(app, what, name, obj, options, lines: list[str]) -> None:
    """Escapes the bars and stars of formulas: our docstrings are plain text, with backticks at most."""
    for i, line in enumerate(lines):
        parts = re.split(r"(`[^`]*`)", line)
        lines[i] = "".join(part if part.startswith("`") else re.sub(r"([|*]|_(?!\w))", r"\\\1", part) for part in parts)


def setup(app) -> None:
    """Connects what this file adds."""
    app.connect("autodoc-process-docstring", _escape, priority=400)  # before napoleon, which writes stars of its own
    app.connect("source-read", _add_margin)
