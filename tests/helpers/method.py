"""Makes the parts of docs/method.md that would go stale: the table of formulas, and a prompt of each family.

`python -m tests.helpers.method` writes them into the page.
"""

from pathlib import Path

from moral_jax.config.task import PromptConfig
from moral_jax.prompts import render
from moral_jax.runs.quantities import MAIN, MORE, QUANTITIES, REPLIES, SECOND_ORDER, TEXTS, Quantity
from moral_jax.tasks import registry
from moral_jax.types import Example

PAGE = Path(__file__).resolve().parents[2] / "docs" / "method.md"
DIRECTION = {"lower": "lower", "higher": "higher", "": ""}
DILEMMA = Example(
    "1", "Which of these two actions is less ethical?", ("leaving a party early", "reading a diary"), (1.0, 4.0)
)
STORY = Example("2", "Who is in the wrong here?", ("the author", "nobody"), (3.0, 2.0), "A party", "I left early.")


def _table(quantities: dict[str, Quantity]) -> str:
    lines = ["| number | name in `metrics.json` | better | per row, mean over rows |", "|---|---|---|---|"]
    lines += [f"| {q.label} | `{name}` | {DIRECTION[q.better]} | {q.formula} |" for name, q in quantities.items()]
    return "\n".join(lines)


def formulas() -> str:
    """Returns a Markdown table of every number of a page on votes."""
    return _table({name: QUANTITIES[name] for name in (*MAIN, *MORE, *SECOND_ORDER)})


def text_formulas() -> str:
    """Returns a Markdown table of every number of a page on texts."""
    return _table(TEXTS)


def reply_formulas() -> str:
    """Returns a Markdown table of every number of a page on replies."""
    return _table(REPLIES)


def _chat_template(messages: list[dict[str, str]], *, begins_answer: bool = True) -> str:
    """Returns messages as ChatML, the template of SmolLM2 and others."""
    assert begins_answer
    turns = [f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages]
    return "".join(turns) + "<|im_start|>assistant\n"


def _texts(renderer: render.Renderer, example: Example) -> str:
    """Returns the texts of one order; the two parts of a pair on lines of their own."""
    return "\n---\n".join("\n[SEP]\n".join(text) for text in renderer(example, (0, 1)).texts)


def prompts() -> str:
    """Returns one prompt of each family, verbatim."""
    one, task = registry.get("dilemmas").about_one, registry.get("dilemmas").study_prompt
    plain = PromptConfig(format="plain")
    families = {
        "`prompt.format=chat`, here in ChatML": (render.make_renderer(PromptConfig(), None, _chat_template), STORY),
        "`prompt.format=plain`": (render.make_renderer(plain, None, None), STORY),
        "`prompt.format=paper`, dilemmas": (render.make_renderer(PromptConfig(format="paper"), task, None), DILEMMA),
        "`prompt.format=paper`, anecdotes": (
            render.make_renderer(PromptConfig(format="paper"), "anecdotes", None),
            STORY,
        ),
        "`model.head=score` of a decoder, one text for each option": (
            render.make_scored_renderer(plain, "score", one, is_encoder=False),
            DILEMMA,
        ),
        "`model.head=score` of an encoder, dilemmas": (
            render.make_scored_renderer(PromptConfig(), "score", one, is_encoder=True),
            DILEMMA,
        ),
        "`model.head=score` of an encoder, other tasks: a pair": (
            render.make_scored_renderer(PromptConfig(), "score", None, is_encoder=True),
            STORY,
        ),
        "`model.head=classes` of an encoder: a pair": (
            render.make_scored_renderer(PromptConfig(), "classes", None, is_encoder=True),
            STORY,
        ),
    }
    return "\n\n".join(f"{title}:\n\n```text\n{_texts(*of)}\n```" for title, of in families.items())


def filled(page: str) -> str:
    """Returns the page with all parts as they are now."""
    parts = {
        "formulas": formulas(),
        "text formulas": text_formulas(),
        "reply formulas": reply_formulas(),
        "prompts": prompts(),
    }
    for name, made in parts.items():
        begin, end = f"<!-- {name}: written by tests/helpers/method.py -->\n", f"<!-- end of {name} -->"
        before, _, rest = page.partition(begin)
        page = before + begin + made + "\n" + end + rest.partition(end)[2]
    return page


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
