"""What a run writes and what it is worth: prompts in, rewarded replies out."""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from moral_jax.config import Config
from moral_jax.inference.generate import make_sampler
from moral_jax.inference.sampler import Sampler
from moral_jax.judges import rewards
from moral_jax.judges.base import Written, numbers_of
from moral_jax.judges.rewards import Weighted
from moral_jax.respondents.encode import QuestionEncoder
from moral_jax.respondents.sampling import Asked, Sample, asked_of, written
from moral_jax.runs.records import Asks, Record
from moral_jax.runs.reply_records import read_reply_jsonl
from moral_jax.runtime import distributed
from moral_jax.runtime.console import info
from moral_jax.tasks import stored
from moral_jax.types import Example, Params, UserError
from moral_jax.workflows import judging
from moral_jax.workflows.evaluate import Answers


class Rewarded(NamedTuple):
    """A reply and what it is worth."""

    sample: Sample
    rewards: dict[str, float | None]  # by name; None where a reward cannot say
    reward: float | None  # their weighted sum


@dataclasses.dataclass(frozen=True)
class Voice:
    """How the replies of a run are written and rewarded."""

    config: Config
    encoder: QuestionEncoder
    rewards: tuple[Weighted, ...]

    @functools.cached_property
    def _sampler(self) -> Sampler:
        """The one sampler, of rollouts and of evaluations, so that it is compiled once."""
        return make_sampler(self.encoder.files.model, self.config.rollout.sample, self.config.rollout.prompts)

    def asked(self, examples: Sequence[Example]) -> list[Asked]:
        """Returns the tokens of prompts; raises UserError for one that leaves no room for its replies."""
        return asked_of(self.encoder, examples, self.config.rollout.sample.max_tokens)

    def fitting(self, examples: Sequence[Example], split: str) -> Sequence[Example]:
        """Returns the prompts that fit into a row with their replies.

        Raises:
          UserError: one does not, unless `task.on_bad_row` drops it.
        """
        row, most = self.config.data.length, self.config.rollout.sample.max_tokens
        if self.config.task.on_bad_row == "drop":
            lengths = [self._length(example) for example in examples]
        else:
            lengths = [len(a.prompt.tokens) for a in self.asked(examples)]
        places = [place for place, length in enumerate(lengths) if length + most <= row]
        if len(places) == len(examples):
            return examples
        first = next(place for place in range(len(examples)) if place not in set(places))
        what = (
            f"prompt and reply together have more than config.data.length={row} tokens "
            f"(config.rollout.sample.max_tokens={most})"
        )
        if self.config.task.on_bad_row == "stop":
            raise UserError(
                f"row {examples[first].id!r}: its prompt has {lengths[first]} tokens, so that {what}, as in "
                f"{len(examples) - len(places)} {split} rows; raise config.data.length, or leave such rows out "
                f"(--config.task.on_bad_row=drop)"
            )
        info(f"left out: {len(examples) - len(places)} of {len(examples)} {split} rows, as {what}")
        return stored.take(examples, places)

    def _length(self, example: Example) -> float:
        """Returns the tokens of a prompt; infinity if the model has no room for it and its reply."""
        try:
            return len(self.asked([example])[0].prompt.tokens)
        except UserError:
            return math.inf

    def write(
        self, params: Params, examples: Sequence[Example], asked: Sequence[Asked], what: str
    ) -> list[list[Rewarded]]:
        """Returns the replies to each prompt with their rewards.

        Args:
          params: as `models.api.cast_for_scoring` returns them.
          asked: the prompts of the examples.
          what: names the work in the progress bar.

        Raises:
          Preempted: the work was told to end.
          UserError: a reward fails.
        """
        how = self.config.rollout.sample
        found = dict(written(self.encoder, params, examples, asked, how, sampler=self._sampler, what=what))
        return self._rewarded(examples, [found[place] for place in range(len(asked))])

    def _rewarded(self, examples: Sequence[Example], replies: list[list[Sample]]) -> list[list[Rewarded]]:
        flat = [
            Written(e, s.prompt, s.text, s.reason, len(s.tokens), s.sample)
            for e, of_prompt in zip(examples, replies, strict=True)
            for s in of_prompt
        ]
        said = {}
        for judge, _ in self.rewards:
            ask = functools.partial(numbers_of, judge, flat, rewards.PLACE)
            said[judge.name] = distributed.from_primary(ask) if judge.on_primary else ask()
        weights = [weight for _, weight in self.rewards]
        place, out = 0, []
        for of_prompt in replies:
            of_one = []
            for sample in of_prompt:
                each = {name: numbers[place] for name, numbers in said.items()}
                of_one.append(Rewarded(sample, each, rewards.total(weights, list(each.values()))))
                place += 1
            out.append(of_one)
        return out


def records_of(examples: Sequence[Example], replies: Sequence[Sequence[Rewarded]]) -> list[Record]:
    """Returns a record per prompt, with all replies to it."""
    return [
        {
            "id": example.id,
            "prompt": [dict(turn) for turn in example.messages] or example.text,
            "keys": list(example.keys),
            "groups": example.groups,
            "replies": [
                {
                    "text": r.sample.text,
                    "reason": r.sample.reason,
                    "tokens": len(r.sample.tokens),
                    "reward": r.reward,
                    "rewards": r.rewards,
                }
                for r in of_prompt
            ],
        }
        for example, of_prompt in zip(examples, replies, strict=True)
    ]


def answers_of(voice: Voice, params: Callable[[], Params]) -> Answers:
    """Returns replies to prompts, with their rewards, as records."""

    def make(asks: Asks, what: str) -> list[Record]:
        return records_of(asks.examples, voice.write(params(), asks.examples, voice.asked(asks.examples), what))

    return Answers(make, read_reply_jsonl)


def numbers(replies: Sequence[Sequence[Rewarded]]) -> dict[str, float]:
    """Returns the means of a set of replies: rewards that are known of any, lengths, how many ended by themselves.

    `kept_mass` is the mean probability, at each token, of what sampling left to choose from.
    """
    flat = [reply for of_prompt in replies for reply in of_prompt]
    parts = {"reward": [r.reward for r in flat]}
    if len(flat[0].rewards) > 1:
        parts |= {f"reward/{name}": [r.rewards[name] for r in flat] for name in flat[0].rewards}
    known = {name: [x for x in of if x is not None] for name, of in parts.items()}
    out = {name: float(np.mean(of)) for name, of in known.items() if of}
    logp, drawn = (np.concatenate([getattr(r.sample, field) for r in flat]) for field in ("logp", "sampled_logp"))
    return out | {
        "unknown": float(np.mean([r.reward is None for r in flat])),
        "length": float(np.mean([len(r.sample.tokens) for r in flat])),
        "finished": float(np.mean([r.sample.reason != "length" for r in flat])),
        "kept_mass": float(np.mean(np.exp(logp - drawn))),
    }


def of(config: Config, encoder: QuestionEncoder) -> Voice:
    """Returns the voice of a config.

    Raises:
      UserError: a reward that it names is none.
    """
    return Voice(config, encoder, tuple(rewards.parse(config.rollout.reward, judging.behind())))


def sha256(asked: Sequence[Asked]) -> str:
    """Returns the SHA-256 of the tokens of prompts."""
    return hashlib.sha256(repr([list(a.prompt.tokens) for a in asked]).encode()).hexdigest()
