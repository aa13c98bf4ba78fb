"""What judges need of models: reward models of runs, and respondents that answer the questions of rubrics.

Weights, and JAX, are loaded when a judge is made that needs them; one that reads the text alone needs neither.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moral_jax.config.task import TaskConfig
from moral_jax.judges.base import Behind, Model, Written
from moral_jax.judges.rubric import Rubric
from moral_jax.types import Example, UserError

if TYPE_CHECKING:
    from moral_jax.respondents.base import Interview
    from moral_jax.respondents.encode import QuestionEncoder

TEMPLATE = "{text}\n\n{question}\n\n{options}"


def behind(default: str = "") -> Behind:
    """Returns what judges ask of models.

    Args:
      default: who answers a rubric that names nobody, as --model has it.
    """
    return Behind(of_run, functools.partial(of_rubric, default=default, interviews=functools.cache(interview)))


def of_run(folder: str) -> Model:
    """Returns the judge of a reward model that a run has trained.

    It cannot say what an empty reply is worth, or one that is too long for its rows.
    """
    from moral_jax.runs.directory import RunDirectory, read_config
    from moral_jax.runs.origin import NOT_BEGUN
    from moral_jax.runs.records import as_given
    from moral_jax.train import manifest
    from moral_jax.train.checkpoint import Checkpoints
    from moral_jax.workflows.evaluate import local_respondent, on_texts

    run = RunDirectory(Path(folder))
    config = read_config(run.path)
    if config.model.head != "score":
        raise UserError(
            f"run:{folder}: config.model.head={config.model.head!r}: is no reward model; train one with "
            f"configs/preferences/reward.py"
        )
    respondent, _ = local_respondent(on_texts(config, TaskConfig(name="texts", replies="last")), run, NOT_BEGUN)
    with Checkpoints(run.checkpoints) as checkpoints:
        chosen = checkpoints.read_manifest(checkpoints.chosen(config.train.select))

    def judge(replies: Sequence[Written]) -> list[float | None]:
        whole = [reply.example._replace(options=(reply.text,), counts=(1.0,)) for reply in replies]
        said = [n for n, e in enumerate(whole) if e.options[0].strip() and _fits(respondent.scoring.encoder, e)]
        examples = [whole[n] for n in said]
        out: list[float | None] = [None] * len(replies)
        if examples:
            asks = as_given(examples)
            respondent.prepare({"replies": asks})
            for place, score in zip(said, respondent.weigh(asks, "replies").logp_EC[:, 0], strict=True):
                out[place] = float(score)
        return out

    return Model(judge, manifest.digest(chosen.checksums))


def _fits(encoder: "QuestionEncoder", example: Example) -> bool:
    """Returns true if a row has room for a prompt and its reply, without a cut."""
    from moral_jax.data import encode

    try:
        render = functools.partial(encoder.render, order=(0,))
        _, is_cut = encode.fit(encoder.tokenizer, render, example, encoder.limits)
    except encode.TooLongError:
        return False
    return not is_cut


def interview(who: str, orders: str, scale: bool) -> "Interview":
    """Returns what asks somebody questions.

    Args:
      who: answers, as --model has it.
      orders: in which options are shown.
      scale: options are points of a scale.

    Raises:
      UserError: it answers no questions.
    """
    from moral_jax.respondents.base import Interview
    from moral_jax.tasks.questionnaire.folder import Folder
    from moral_jax.workflows.asking import config_for
    from moral_jax.workflows.evaluate import NO_BUDGET, check_answers_questions, named, respondent_of

    config, run = named(who)
    check_answers_questions(config, run)
    config = config_for(config, Folder(Path("rubric"), template=TEMPLATE, orders=orders, scale=scale))  # type: ignore[arg-type]
    respondent, _ = respondent_of(config, NO_BUDGET, run)
    return Interview(respondent, config.orders_of)


def of_rubric(
    rubric: Rubric, who: str, default: str = "", interviews: Callable[[str, str, bool], "Interview"] = interview
) -> Model:
    """Returns the judge of a rubric: a respondent's answers to its questions about a reply.

    Args:
      who: answers, as --model has it.
      default: answers where nobody is named.
      interviews: as `interview`; one that remembers asks several rubrics of one model.

    Raises:
      UserError: nobody is named, or it answers no questions.
    """
    if not (who or default):
        raise UserError(
            f"rubric:{rubric.name}: names nobody to answer it; write rubric:{rubric.name}@MODEL, or pass "
            f"--judge-model=MODEL (a folder, .gguf, OWNER/MODEL, run:DIR, api:NAME ...)"
        )
    from moral_jax.tasks import votes

    asking = interviews(who or default, rubric.orders, rubric.scale)

    def judge(replies: Sequence[Written]) -> list[float | None]:
        examples = []
        for n, reply in enumerate(replies):
            variables = reply.example.notes.get("variables", {})
            shown = rubric.shows(reply.asked, reply.text, variables)
            for q in rubric.asks(variables):
                places = votes.positions(q.options) if rubric.scale else ()
                examples.append(
                    Example(f"{n} {q.name}", q.question, q.options, (1.0,) * len(q.options), text=shown,
                            positions=places)
                )  # fmt: skip
        records = asking.records(examples, "judging") if examples else []
        each = len(rubric.questions)
        of_reply = [records[i : i + each] for i in range(0, len(records), each)]
        return [
            rubric.value({q.name: r["probabilities"] for q, r in zip(rubric.questions, of, strict=True)})
            for of in of_reply
        ]

    about = json.dumps(asking.respondent.about, sort_keys=True, default=str)
    return Model(judge, hashlib.sha256(about.encode()).hexdigest()[:16])
