"""The sets and models that this project reads or names, with their terms: the table of docs/data.md."""

from typing import NamedTuple

from moral_jax.tasks import licences
from moral_jax.tasks.licences import NONE, PERMISSIVE, Licence


class Known(NamedTuple):
    """A set or a model, and its terms as its authors state them."""

    name: str
    what: str
    licence: str
    note: str = ""


KNOWN = (
    Known("synthetic, shipped questionnaires", "made-up rows of this project", "Apache-2.0"),
    Known("Scruples", "dilemmas and anecdotes with votes", "NOASSERTION",
          "code is Apache-2.0; no licence of the data is named; texts from Reddit, for research"),
    Known("TruthfulQA", "questions with true and false answers", "Apache-2.0"),
    Known("emergent_values", "outcomes, policies and questions of Utility Engineering", "MIT"),
    Known("daily_dilemmas", "dilemmas, actions and their values", "CC-BY-4.0"),
    Known("progressgym", "questions on views and foundations", "MIT", "its README says CC BY 4.0"),
    Known("moralchoice", "scenarios of low and high ambiguity", "MIT", "text in the style of MIT"),
    Known("moral_machine", "effects by country", "MIT"),
    Known("DOSPERT 2006", "the items of the scale", "CC-BY-3.0"),
    Known("Values in the Wild", "values and how often they were seen", "CC-BY-4.0"),
    Known("globalopinionqa", "answer shares by country", "CC-BY-NC-SA-4.0"),
    Known("opinionqa", "answer shares by group of Americans", "LicenseRef-survey-terms", "terms of the survey"),
    Known("wvs_moral", "answers by country", "LicenseRef-survey-terms", "terms of the survey"),
    Known("moca", "moral and causal stories with votes", "NOASSERTION"),
    Known("unimoral", "dilemmas in six languages with votes", "NOASSERTION"),
    Known("mfv_clifford", "vignettes with shares over foundations", "NOASSERTION"),
    Known("LeWiDi, POPQUORN", "texts with the labels of each person", "NOASSERTION", "not looked up by this project"),
    Known("moral graph of 2404.10636", "values and votes on which is wiser", NONE, "no licence file"),
    Known("ValuePrism, Kaleido", "values, rights and duties; models", "LicenseRef-AI2-ImpACT-MR", "gated"),
    Known("MoralPrompt, EDRAS, LocalValueBench, Development Support", "", NONE, "terms unknown"),
    Known("SmolLM2-135M-Instruct", "the model of the examples", "Apache-2.0"),
)  # fmt: skip


def may_train(licence: Licence) -> str:
    """Says whether a checkpoint that is trained on it may be published."""
    if licence.expression == NONE:
        return "no"
    if licence.forbidding == [licences.UNKNOWN]:
        return "ask"
    if licence.forbidding:
        return f"no: {', '.join(licence.forbidding)}"
    return _yes(licence)


def may_ship(licence: Licence) -> str:
    """Says whether its rows may be passed on."""
    return "no" if licence.forbidding else _yes(licence, notice=True)


def may_test(licence: Licence) -> str:
    """Says whether somebody may test on it who may use it, and name it on a card."""
    return "where you may use it" if licences.UNKNOWN in licence.classes else "yes"


def _yes(licence: Licence, *, notice: bool = False) -> str:
    asked = [name for name in licences.CLASSES if name in licence.obligations]
    if notice and PERMISSIVE in licence.classes:
        asked.append("its notice")
    return f"yes, with {' and '.join(asked)}" if asked else "yes"


HEADER = ["set or model", "what", "licence", "may train a published checkpoint", "may ship", "may test", "note"]


def rows() -> list[list[str]]:
    """Returns the table, a list of cells a line, below `HEADER`."""
    out = []
    for one in KNOWN:
        licence = licences.parse(one.licence)
        out.append([one.name, one.what, licence.expression, may_train(licence), may_ship(licence), may_test(licence),
                    one.note])  # fmt: skip
    return out
