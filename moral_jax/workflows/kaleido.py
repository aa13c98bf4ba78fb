"""A sentence in; values, rights and duties, their relevance and valence, and what they come to out.

The model writes candidates, unless a file brings them; the same model judges each. `analysis.kaleido` does the rest.
"""

import dataclasses
import functools
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from moral_jax.analysis import kaleido as analysis
from moral_jax.analysis.kaleido import Decision, Dropped, Judged, Thresholds, Vectors
from moral_jax.config import Config
from moral_jax.config.evaluate import EvalConfig
from moral_jax.config.model import ModelConfig
from moral_jax.config.sample import SampleConfig
from moral_jax.config.task import SourceConfig, TaskConfig
from moral_jax.config.train import DataConfig
from moral_jax.respondents.api.cost import Budget
from moral_jax.respondents.base import asks_of
from moral_jax.runs.directory import RunDirectory
from moral_jax.runs.records import make_records
from moral_jax.tasks import kaleido as task
from moral_jax.tasks.kaleido import RELEVANCE, VALENCE, Labelled, Settings, Value
from moral_jax.types import UserError
from moral_jax.workflows.asking import Who
from moral_jax.workflows.evaluate import embedder_of, respondent_of

LINE = "\n"  # ends a value, and an explanation
WORDS = 128  # tokens of a packed row of values, and of a value at most


class Candidates(NamedTuple):
    """The values that are judged, and how many texts they were found in."""

    values: list[Value]
    written: int = 0
    unread: int = 0  # texts that are no value, right or duty


class Answer(NamedTuple):
    """What is said of a situation."""

    situation: str
    candidates: Candidates
    kept: list[Judged]  # the most relevant first
    dropped: list[Dropped]
    decision: Decision | None  # None where nothing is relevant
    explanations: list[str]  # of those that are kept; empty if none were asked for


def config_for(config: Config) -> Config:
    """Returns a config that asks the four tasks: a run's own if it was trained on them, or else with its prompts."""
    names = {f"kaleido_{name}": name for name in task.SOURCES.values()}
    own = {names[s.task.name]: s for s in config.task.sources if s.task.name in names}
    if own and not set(names.values()) <= set(own):
        missing = sorted(set(names.values()) - set(own))
        raise UserError(f"the run's mixture has no source of {', '.join(missing)}; train it with mixtures/kaleido")
    sources = [
        dataclasses.replace(own[name], name=name) if own
        else SourceConfig(name, task=TaskConfig(name=f"kaleido_{name}"), prompt=config.prompt)
        for name in names.values()
    ]  # fmt: skip
    return dataclasses.replace(config, task=TaskConfig(name="mixture", sources=tuple(sources)))


class Kaleido:
    """Somebody who judges values in situations."""

    def __init__(self, who: Who, settings: Settings, budget: Budget, seed: int):
        """Finds the respondent; loads no weights.

        Raises:
          UserError: it cannot be asked.
        """
        if who.config.respondent.kind == "baseline":
            raise UserError(f"{who.name}: a baseline is fitted to rows with votes, and judges no values")
        self.config, self.settings, self.seed = config_for(who.config), settings, seed
        self.respondent, _ = respondent_of(self.config, budget, RunDirectory(who.run) if who.run else None)
        self.is_local = self.config.respondent.kind == "local"

    @functools.cached_property
    def vectors(self) -> Vectors | None:
        """The sentence encoder; None where words alone are compared."""
        if not self.settings.encoder:
            return None
        reads = ModelConfig(path=self.settings.encoder, head="score")
        return embedder_of(Config(model=reads, data=DataConfig(length=WORDS), eval=EvalConfig(batch_size=1)))

    def _written(self, examples: Sequence[Any], how: SampleConfig) -> list[list[str]]:
        from moral_jax.respondents.local import LocalRespondent

        assert isinstance(self.respondent, LocalRespondent), "checked by the callers"
        found = dict(self.respondent.sample(examples, how, [LINE]))
        return [[sample.text for sample in found[place]] for place in range(len(examples))]

    def candidates(self, situation: str) -> Candidates:
        """Returns the different values that the model names for a situation, as it first wrote them.

        Raises:
          UserError: it writes no texts, or none of them is a value.
        """
        if not self.is_local:
            raise UserError(
                f"config.respondent.kind={self.config.respondent.kind!r}: writes no candidates; pass --values=FILE "
                f"with the values that are judged"
            )
        s = self.settings
        how = SampleConfig(n=s.candidates, max_tokens=s.max_tokens, temperature=s.temperature, seed=self.seed)
        [texts] = self._written([task.opening(situation, "situation")], how)
        read = [value for text in texts if (value := task.parsed(text))]
        if not read:
            raise UserError(
                f"none of the {len(texts)} candidates that the model wrote is a value such as 'Value: Honesty' (it "
                f"wrote {texts[0][:60]!r}); train it on some (--config=mixtures/kaleido), or pass --values=FILE"
            )
        return Candidates(list(dict.fromkeys(read)), len(texts), len(texts) - len(read))

    def judge(self, asked: Sequence[tuple[str, Value]]) -> list[Judged]:
        """Returns what is said of values in situations."""
        said = {}
        for question in (RELEVANCE, VALENCE):
            examples = [task.asked(question, s, v, f"{question} {i}") for i, (s, v) in enumerate(asked)]
            asks = asks_of(self.respondent, examples, self.config.orders_of)
            self.respondent.prepare({question: asks})
            said[question] = [r["probabilities"] for r in make_records(asks, self.respondent.choose(asks, question))]
        both = zip(asked, said[RELEVANCE], said[VALENCE], strict=True)
        return [Judged(*value, relevant[0], tuple(valence)) for (_, value), relevant, valence in both]

    def explained(self, situation: str, values: Sequence[Judged]) -> list[str]:
        """Returns the likeliest explanation of each value in a situation."""
        if not self.is_local:
            raise UserError(f"config.respondent.kind={self.config.respondent.kind!r}: writes no explanations")
        named = [Value(v.kind, v.text) for v in values]
        examples = [task.explanation(situation, value, f"explanation {i}") for i, value in enumerate(named)]
        how = SampleConfig(max_tokens=2 * self.settings.max_tokens, temperature=0.0)
        return [texts[0].strip() for texts in self._written(examples, how)] if examples else []

    def answer(self, situation: str, given: Sequence[tuple[str | None, Value]] | None, *, explains: bool) -> Answer:
        """Returns what is said of a situation.

        Args:
          given: values to judge, with the situation that each is of, None: of all; None: the model writes them.
          explains: true for an explanation of each value that is kept.
        """
        situation = " ".join(situation.split())
        if given is None:
            found = self.candidates(situation)
        else:
            found = Candidates(list(dict.fromkeys(v for of, v in given if of in (None, situation))))
            if not found.values:
                raise UserError(f"--values: none of them is of the situation {situation!r}")
        s = self.settings
        judged = self.judge([(situation, value) for value in found.values])
        kept, dropped = analysis.keep(judged, Thresholds(s.relevance, s.rouge, s.cosine), self.vectors)
        explanations = self.explained(situation, kept) if explains else []
        return Answer(situation, found, kept, dropped, analysis.decide(kept), explanations)


class Fitted(NamedTuple):
    """Thresholds that fit labelled rows, and how well those of relevance part them."""

    thresholds: Thresholds
    accuracy: dict[str, tuple[float, float]]  # by kind: balanced accuracy of the threshold that stood, and of this one
    rows: Counter[str]  # by kind
    pairs: int  # of different values of one kind in one situation


def fit(kaleido: Kaleido, rows: Sequence[Labelled]) -> Fitted:
    """Fits thresholds to labelled rows: of relevance by balanced accuracy, each kind alone; of likeness to what rows
    name as different values of a situation, of which one pair in twenty may look the same at most.

    Rows that a model was trained on would make it look surer than it is: use held-out ones.
    """
    labelled = [row for row in rows if row.is_relevant is not None]
    p_E = np.array([j.relevance for j in kaleido.judge([(row.situation, row.value) for row in labelled])])
    relevant_E = np.array([bool(row.is_relevant) for row in labelled])
    of_kind = {kind: np.array([row.value.kind == kind for row in labelled], bool) for kind in task.KINDS}
    s, relevance, accuracy = kaleido.settings, {}, {}
    for kind, is_E in of_kind.items():
        own = p_E[is_E], relevant_E[is_E]
        relevance[kind] = analysis.fitted_relevance(*own, s.relevance[kind]) if is_E.any() else s.relevance[kind]
        if own[1].any() and not own[1].all():
            before, after = (analysis.balanced_accuracy(*own, t) for t in (s.relevance[kind], relevance[kind]))
            accuracy[kind] = before, after
    pairs = different(rows)
    rouge = analysis.fitted_likeness(pairs, analysis.rouge, s.rouge)
    vectors = kaleido.vectors
    meaning = analysis.fitted_likeness(pairs, analysis.cosine(vectors), s.cosine) if vectors else s.cosine
    counts = Counter({kind: int(is_E.sum()) for kind, is_E in of_kind.items()})
    return Fitted(Thresholds(relevance, rouge, meaning), accuracy, counts, len(pairs))


def different(rows: Sequence[Labelled]) -> list[tuple[str, str]]:
    """Returns the pairs of values of one kind that are relevant to one situation."""
    groups: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.is_relevant is not False:
            groups.setdefault((row.situation, row.value.kind), []).append(row.value.text)
    return [(a, b) for texts in groups.values() for i, a in enumerate(texts) for b in texts[i + 1 :] if a != b]
