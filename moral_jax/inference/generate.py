"""The one sampler: texts go on token by token, many at a time.

A fixed number of slots work in calls of `ROUNDS` tokens. Between two calls the host reads what was chosen, ends texts
at an end token, a stop text or their greatest length, and gives free slots to the next prompts. All samples of a prompt
begin together in one group of slots, so that its prompt is computed and read once for them (`models.cache`).

A call takes as long with empty slots, so these should be few. Prompts begin by their size, largest first, and of one
size those with the longest replies first. Slots that the last large prompts leave empty go to smaller ones, and the
room for prompts shrinks once no large one is in progress.

The random number of a token depends on the seed, the prompt's own number, the sample and the place of the token alone:
order, neighbours and restarts change no token.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from moral_jax.config.sample import SampleConfig
from moral_jax.inference.choose import Chosen, Settings
from moral_jax.inference.sampler import ROUNDS, SMALLEST, Sampler, bucket, uniforms
from moral_jax.models import api
from moral_jax.runtime import distributed, preemption
from moral_jax.types import Params, Preempted

MOST_SLOTS = 32  # by default
# Tokens of a text -> how many of them it has if it is over for a reason that its tokens do not say.
Stopper = Callable[[np.ndarray], int | None]


class Prompt(NamedTuple):
    """What a text begins with."""

    tokens: Sequence[int]
    number: int  # below 2**32: decides the random numbers of its samples, together with the seed
    max_tokens: int | None = None  # of its replies, if fewer than of all


class Reply(NamedTuple):
    """One sample."""

    tokens: np.ndarray  # int32, the end token counted in
    logp: np.ndarray  # float32, of each token in the full distribution at the temperature (at 1 where it is 0)
    sampled_logp: np.ndarray  # float32, of each token in the distribution that it was drawn from
    reason: Literal["end", "stop", "length"]


class Group(NamedTuple):
    """The samples of a prompt, as far as they are."""

    place: int  # among the prompts
    most: int  # tokens of a reply
    parts: list[list[list[np.ndarray]]]  # of each sample: tokens, logp and sampled_logp of each call
    replies: list[Reply | None]


def _cut(parts: list[list[np.ndarray]], ends: frozenset[int], is_stopped: Stopper | None, most: int) -> Reply | None:
    """Returns a reply if its text is over."""
    tokens, logp, sampled = (np.concatenate(x) for x in zip(*parts, strict=True))
    at_end = np.flatnonzero(np.isin(tokens, list(ends)))
    length = int(at_end[0]) + 1 if len(at_end) else len(tokens)
    reason: Literal["end", "stop", "length"] = "end" if len(at_end) and length <= most else "length"
    length = min(length, most)
    stopped = is_stopped(tokens[:length]) if is_stopped else None
    if stopped is not None:
        length, reason = stopped, "stop"
    if reason == "length" and length < most:
        return None
    return Reply(tokens[:length], logp[:length], sampled[:length], reason)


def _most_of(prompt: Prompt, most: int) -> int:
    """Returns the most tokens of a reply to a prompt, where any may have so many."""
    return min(prompt.max_tokens or most, most)


class Slots:
    """Which texts are in progress, and how far they are."""

    def __init__(self, sampler: Sampler, ends: frozenset[int], is_stopped: Stopper | None):
        self.samples, self.ends, self.is_stopped = sampler.samples, ends, is_stopped
        self.groups: dict[int, Group] = {}
        self.prompt_lengths_G = np.zeros(sampler.groups, np.int32)
        self.own_lengths_S = np.zeros(sampler.slots, np.int32)
        self.numbers_S = np.zeros(sampler.slots, np.uint32)
        self.samples_S = np.tile(np.arange(sampler.samples, dtype=np.int32), sampler.groups)

    def _of(self, group: int) -> slice:
        return slice(group * self.samples, (group + 1) * self.samples)

    def fill(self, waiting: list[tuple[int, Prompt]], most: int) -> dict[int, Sequence[int]]:
        """Gives free groups to prompts that wait, which it takes from the end; returns the tokens of these groups."""
        fresh: dict[int, Sequence[int]] = {}
        for group in range(len(self.prompt_lengths_G)):
            if group not in self.groups and waiting:
                place, prompt = waiting.pop()
                of_each: list[list[list[np.ndarray]]] = [[] for _ in range(self.samples)]
                self.groups[group] = Group(place, _most_of(prompt, most), of_each, [None] * self.samples)
                fresh[group] = prompt.tokens
                self.prompt_lengths_G[group], self.numbers_S[self._of(group)] = len(prompt.tokens), prompt.number
        return fresh

    def take(self, chosen: Chosen) -> Iterator[tuple[int, list[Reply]]]:
        """Takes the tokens of a call, [R, S]; yields (place of a prompt, its samples) where all are over."""
        for number, group in list(self.groups.items()):
            slots = self._of(number)
            self.own_lengths_S[slots] += ROUNDS
            for n, slot in enumerate(range(slots.start, slots.stop)):
                if group.replies[n] is None:
                    group.parts[n].append([x[:, slot] for x in chosen])
                    group.replies[n] = _cut(group.parts[n], self.ends, self.is_stopped, group.most)
            done = [reply for reply in group.replies if reply is not None]
            if len(done) == self.samples:
                del self.groups[number]
                self.prompt_lengths_G[number], self.own_lengths_S[slots] = 0, 0
                yield group.place, done


def _in_order(prompts: Sequence[Prompt], most: int) -> list[tuple[int, Prompt]]:
    """Returns prompts and their places in the order in which they begin, the first last."""

    def key(asked: tuple[int, Prompt]) -> tuple[int, int]:
        return -bucket(len(asked[1].tokens), SMALLEST), -_most_of(asked[1], most)

    return sorted(enumerate(prompts), key=key)[::-1]


def make_sampler(model: api.Model, how: SampleConfig, prompts: int) -> Sampler:
    """Returns the sampler for so many prompts."""
    slots = how.slots or min(MOST_SLOTS, bucket(how.n * prompts, 1))
    return Sampler(model, how.n, slots, how.max_tokens)


def generate(
    params: Params,
    model: api.Model,
    prompts: Sequence[Prompt],
    how: SampleConfig,
    ends: frozenset[int],
    is_stopped: Stopper | None = None,
    sampler: Sampler | None = None,
) -> Iterator[tuple[int, list[Reply]]]:
    """Yields (place of a prompt, its samples) as they come to an end.

    Args:
      params: as `models.api.cast_for_scoring` returns them.
      ends: token ids after which a text is over.
      is_stopped: says where a text is over for another reason, and how many of its tokens count then.
      sampler: one that was used before, for the same numbers of samples and slots.

    Raises:
      Preempted: the work was told to end.
    """
    if not prompts:
        return
    sampler = sampler or make_sampler(model, how, len(prompts))
    agreed = distributed.AnyProcess()
    full = lambda value, dtype: np.full(sampler.slots, value, dtype)  # noqa: E731
    settings = Settings(
        temperature_S=full(how.temperature, np.float32),
        top_p_S=full(how.top_p, np.float32),
        top_k_S=full(how.top_k, np.int32),
        min_p_S=full(how.min_p, np.float32),
    )
    texts, waiting = Slots(sampler, ends, is_stopped), _in_order(prompts, how.max_tokens)
    room = bucket(max(len(prompt.tokens) for prompt in prompts), SMALLEST)
    state = sampler.empty(params, room)
    while waiting or texts.groups:
        if agreed(preemption.noticed())[0]:
            raise Preempted("preempted while writing; the same command goes on")
        fresh = texts.fill(waiting, how.max_tokens)
        needed = bucket(int(texts.prompt_lengths_G.max()), SMALLEST)
        if needed < room:
            state, room = sampler.shrunk(state, needed), needed
        if fresh:
            state = sampler.begin(params, state, fresh)
        lengths = texts.prompt_lengths_G, texts.own_lengths_S
        random_RS = uniforms(how.seed, texts.numbers_S, texts.samples_S, texts.own_lengths_S, ROUNDS)
        state, chosen = sampler.go_on(params, state, *lengths, random_RS, settings)
        yield from texts.take(chosen)
