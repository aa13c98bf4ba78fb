"""Tests rows of votes that try to take over a page: whatever a browser does with the page, they stay text."""

import html.parser
import json
import re
import shutil
import subprocess

import pytest

from moral_jax.report import page
from tests.report.test_page import numbers, record

MARK = "owned-by-data"
ACT = f"document.title='{MARK}'"
HOSTILE = (
    f"<script>{ACT}</script>",
    f"<img src=x onerror=\"{ACT}\">",
    f"<svg/onload={ACT}>",
    f"\"><b onmouseover=\"{ACT}\" autofocus tabindex=1 onfocus=\"{ACT}\">",
    f"<a href=\"javascript:{ACT}\" id=link>here</a>",
    f"<iframe srcdoc=\"<script>parent.{ACT}</script>\"></iframe>",
    f"</style></pre></details></main><script>{ACT}</script>",
    f"<!-- a comment that never ends <script>{ACT}</script>",
    f"-->]]><script>{ACT}</script>",
    f"<meta http-equiv=refresh content=\"0;url=javascript:{ACT}\">",
    "<base href=https://example.org/><link rel=stylesheet href=//example.org/x.css>",
    "{{ 7 * 7 }}{% raw %}",
    f"<scr\0ipt>{ACT}</scr\0ipt>",
    "\u202enruter ot gnorw\u202c \u2067@name\u2069",
)  # fmt: skip
CSP = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
KNOWN = {
    "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "h3", "p", "strong", "div", "table", "thead",
    "tbody", "tr", "th", "td", "br", "figure", "figcaption", "i", "span", "details", "summary", "pre",
}  # fmt: skip
OF_PICTURES = {
    "svg", "g", "defs", "path", "use", "text", "tspan", "rect", "metadata", "clippath", "style", "rdf:rdf", "cc:work",
    "dc:type", "dc:format", "dc:creator", "dc:title", "cc:agent",
}  # fmt: skip


def rows(count=14):
    """Returns rows with a hostile text in every field that a page shows."""
    out = []
    for i in range(count):
        bad = HOSTILE[i % len(HOSTILE)]
        out.append(
            record(i, 0.05 + 0.07 * i)
            | {"id": f"{i}{bad}", "question": bad, "title": bad, "text": bad * 3, "options": [bad, f"b{bad}"]}
        )
    return out


@pytest.fixture
def run(tmp_path):
    """Writes a run whose name, rows, subsets, config and provenance are hostile; returns its folder."""
    folder = tmp_path / "<script>x<!--"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"stages": ["initial", "trained"]}))
    for stage in ("initial", "trained"):
        (folder / stage).mkdir(parents=True)
        groups = {"kind" + bad: {bad: next(iter(numbers(0.6)["groups"]["vote split"].values()))} for bad in HOSTILE}
        (folder / stage / "metrics.json").write_text(json.dumps(numbers(0.6) | {"groups": groups}))
        (folder / stage / "test.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows()))
    everything = " ".join(HOSTILE)
    (folder / "config.json").write_text(json.dumps({"eval": {"bootstrap": everything}, everything: everything}))
    origin = {"data": {"description": everything, "citation": everything}, "model": {"path": everything}}
    (folder / "provenance.json").write_text(json.dumps(origin))
    return folder


class Elements(html.parser.HTMLParser):
    """Collects the tags, attributes and comments of a page."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.comments = set(), [], []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_comment(self, data):
        self.comments.append(data)


@pytest.mark.fault("rows that would take over the page", promise="they are text on it")
def test_no_element_or_attribute_comes_from_data(run):
    found = Elements()
    text = page.write(run).html.read_text()
    found.feed(text)
    found.close()
    assert found.tags <= KNOWN | OF_PICTURES, found.tags - KNOWN - OF_PICTURES
    assert not [name for name, _ in found.attributes if name.startswith("on") or name in ("srcdoc", "action")]
    links = [value for name, value in found.attributes if name in ("href", "src", "xlink:href")]
    assert all(value.startswith("#") for value in links), links
    assert all(MARK not in f"{name}{value}" for name, value in found.attributes)
    assert not any(MARK in comment for comment in found.comments)
    assert text.count(MARK) > 100  # it is all there, as text
    assert CSP.search(text)


def test_text_looks_like_what_it_says(run):
    for text in (page.write(run).html.read_text(), (run / "report.md").read_text()):
        assert not re.search("[\u202a-\u202e\u2066-\u2069]", text)
        assert r"\u202enruter ot gnorw\u202c \u2067@name\u2069" in text


def test_markdown_begins_no_tag_and_no_row(run):
    page.write(run)
    text = (run / "report.md").read_text()
    outside = re.sub(r"```json\n.*?\n```", "", text, flags=re.S)
    assert MARK in outside
    assert "<script" not in outside
    assert "<img" not in outside
    assert "<!--" not in outside


@pytest.fixture(scope="module")
def browser():
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if found is None:
        pytest.skip("no browser is here: install chromium")
    return found


def seen(browser, text, folder) -> str:
    """Returns the document of a browser after the scripts of the page ran."""
    (folder / "page.html").write_text(text)
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", f"--user-data-dir={folder / 'profile'}"]  # fmt: skip
    file = (folder / "page.html").as_uri()
    done = subprocess.run(
        [browser, *flags, "--virtual-time-budget=2000", "--dump-dom", file],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "<html" in done.stdout, done.stderr[-2000:]
    return done.stdout


def title(document: str) -> str:
    return re.search(r"<title>(.*?)</title>", document, re.S)[1]


@pytest.mark.fault("the same rows in a real browser, its own protection taken out", promise="nothing of them runs")
def test_a_browser_runs_nothing_of_it(browser, run, tmp_path):
    """Escaping suffices without the content security policy, which is a second defence."""
    text = page.write(run).html.read_text()
    bare = CSP.sub("", text)
    assert bare != text
    document = seen(browser, bare, tmp_path)
    assert MARK not in title(document)
    assert "<script" not in document
    assert 'id="link"' not in document


def test_the_trap_works(browser, run, tmp_path):
    """Without escaping, the hostile text runs in this browser."""
    text = CSP.sub("", page.write(run).html.read_text())
    document = seen(browser, text.replace("<main>", f"<main>{HOSTILE[1]}", 1), tmp_path)
    assert title(document) == MARK
