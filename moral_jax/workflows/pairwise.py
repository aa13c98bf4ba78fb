"""Puts the pairs of an elicitation to one respondent, batch by batch, and brings its answers together."""

import itertools
from collections.abc import Sequence

import numpy as np

from moral_jax.analysis.utilities import plan, thurstone
from moral_jax.analysis.utilities.answers import answers_of
from moral_jax.analysis.utilities.subject import Assembly, Outcomes, Subject
from moral_jax.runs.answers import condition_name
from moral_jax.runs.records import Record
from moral_jax.runtime import console
from moral_jax.tasks.elicitation import extras
from moral_jax.tasks.elicitation.pairs import FLOORS, Pair
from moral_jax.tasks.questionnaire.cross import Crossed
from moral_jax.types import Example
from moral_jax.workflows.asking import Asking
from moral_jax.workflows.outcomes import Asked

PIECE = 500  # questions that are asked before their answers are written: a batch of the plan
MOST_UNRELATED = 500  # pairs of outcomes on which nobody has voted
API, ASSEMBLY, UNRELATED = "api", "assembly", "unrelated"


class Pairwise:
    """An elicitation of one respondent."""

    def __init__(self, asked: Asked, numbers: Outcomes, asking: Asking, people: Assembly | None):
        """Args:
        numbers: what is counted of the outcomes.
        asking: the respondent and its answers so far.
        people: whose pairs are asked too.
        """
        self.asked, self.numbers, self.asking = asked, numbers, asking
        self.of_people = sorted(people.shares) if people else []
        self.plan: list[plan.Batch] = []

    def subject(self) -> Subject:
        """Asks everything that has not been answered yet, and returns all answers."""
        if self.asking.who.config.respondent.kind == API:
            self._estimate()
        fixed = self._fixed()
        with console.progress(total=self._size(), desc=f"asking {self.asking.who.name}", unit="question") as self.bar:
            answered = {name: self._ask(name, examples) for name, examples in fixed.items()}
            main = self._main()
            everything = [pair for batch in self.plan for pair in batch.pairs]
            floors = {}
            if self.asked.how.floor:
                both = [pair for pair in everything if self.numbers.has_number_N[list(pair)].all()]
                floors = {floor: self._ask(floor, self.asked.examples(both, 0, floor)) for floor in FLOORS}
            others = {}
            order = self._pairs(held=False) + self._pairs(held=True)
            for number in range(1, len(self.asked.combinations)):
                examples = self.asked.examples(order, number)
                others[condition_name(examples[0].notes["condition"])] = self._ask(f"conditions {number}", examples)
            self.bar.total = self.bar.n
        return Subject(
            who=self.asking.who.name,
            outcomes=self.numbers,
            fitted=[main[pair] for pair in self._pairs(held=False)],
            held=[main[pair] for pair in self._pairs(held=True)],
            floors=floors,
            conditions=others,
            discounting=answered[extras.DISCOUNTING],
            choices=answered[extras.CHOICES],
            of_assembly=answered[ASSEMBLY],
            unrelated=answered[UNRELATED],
            samples=self.asked.how.samples,
            seed=self.asked.how.seed,
        )

    def _pairs(self, *, held: bool) -> list[Pair]:
        """Returns the planned pairs that are held out, or those that are not."""
        return [pair for batch in self.plan if batch.is_held_out == held for pair in batch.pairs]

    def _fixed(self) -> dict[str, list[Example]]:
        """Returns the questions that do not depend on answers."""
        also = self.asked.how.also
        return {
            extras.DISCOUNTING: extras.discounting() if extras.DISCOUNTING in also else [],
            extras.CHOICES: extras.choice_examples(self.asked.choices),
            ASSEMBLY: self.asked.examples(self.of_people),
            UNRELATED: self.asked.examples(self._unrelated() if self.of_people else []),
        }

    def _unrelated(self) -> list[Pair]:
        """Returns pairs of outcomes on which nobody has voted, the same ones for all respondents."""
        named = {i for pair in self.of_people for i in pair}
        pairs = list(itertools.combinations([i for i in range(len(self.numbers)) if i not in named], 2))
        drawn = np.random.default_rng(self.asked.how.seed).permutation(len(pairs))[:MOST_UNRELATED]
        return [pairs[k] for k in np.sort(drawn)]

    def _size(self) -> int:
        """Returns how many questions there will be, about: some pairs are of the assembly too, or are alike without
        numbers."""
        n, has = len(self.numbers), float(self.numbers.has_number_N.mean())
        planned = plan.size(n, self.asked.how.batch)
        floors = int(len(FLOORS) * has**2 * planned) if self.asked.how.floor else 0
        return planned * len(self.asked.combinations) + floors + sum(map(len, self._fixed().values()))

    def _ask(self, name: str, examples: Sequence[Example]) -> list[Record]:
        """Returns the answers to some questions, asked now or before."""
        left = self.asking.left(examples)
        self.bar.update(len(examples) - len(left))
        if left:
            self.asking.ask([Crossed(name, left)], PIECE, self.bar)
        return [self.asking.records[self.asking.key(example)] for example in examples]

    def _main(self) -> dict[Pair, Record]:
        """Asks the pairs of the plan, which follows from the answers, and returns the answers."""
        main: dict[Pair, Record] = {}
        how = self.asked.how

        def utilities(wanted: list[Pair]) -> np.ndarray:
            a = answers_of([main[pair] for pair in wanted], self.numbers.place, how.samples, how.seed)
            return thurstone.fit(a.pairs_E2, a.p_E, len(self.numbers), how.seed).mu_N

        for batch in plan.batches(len(self.numbers), how.seed, utilities, how.batch):
            self.plan.append(batch)
            main |= zip(batch.pairs, self._ask(batch.name, self.asked.examples(batch.pairs)), strict=True)
        return main

    def _estimate(self) -> None:
        """Says what all questions will cost, by random pairs as many as there will be, before the first is sent.

        Raises:
          UserError: nobody gave permission to spend that.
        """
        n = len(self.numbers)
        wanted = max(0, self._size() - len(self.asking.records))
        i, j = np.triu_indices(n, 1)
        drawn = np.random.default_rng(self.asked.how.seed).integers(len(i), size=wanted)
        stand_ins = self.asked.examples([(int(i[k]), int(j[k])) for k in drawn])
        if stand_ins:
            self.asking.respondent.prepare({"all": self.asking.asks(stand_ins)})
