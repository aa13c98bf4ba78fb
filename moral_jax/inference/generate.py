"""The one sampler: texts go on token by token, many at a time.

A fixed number of slots work in calls of `ROUNDS` tokens. Between two calls the host reads what was chosen, ends texts
at an end token, a stop text or their greatest length, and gives free slots to the next prompts. All samples of a prompt
begin together in one group of slots, so that its prompt is computed and read once for them (`models.cache`).

Prompts are computed in packed rows; their sizes are powers of two, so that few programs are compiled whatever comes.
The random number of a token depends on the seed, the prompt's own number, the sample and the place of the token alone,
and every row of a program is computed by itself: order, neighbours and restarts change no token.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from moral_jax import sharding
from moral_jax.config.sample import SampleConfig
from moral_jax.data.pack import in_batches, pack
from moral_jax.inference.choose import Chosen, Settings, choose
from moral_jax.inference.states import packed_rows
from moral_jax.models import adapters, api, cache
from moral_jax.models.read_out import next_logits
from moral_jax.types import Array, Params, Tokens

ROUNDS = 16  # tokens of every text in one call
SMALLEST = 128  # tokens of a packed row of prompts
PROMPTS_PER_ROW = 8
MOST_SLOTS = 32  # by default


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


class State(NamedTuple):
    """Texts in progress, on the devices."""

    prefix: Any
    own: Any
    hidden_SD: Array  # the state that the next token is read from


class Group(NamedTuple):
    """The samples of a prompt, as far as they are."""

    place: int  # among the prompts
    parts: list[list[list[np.ndarray]]]  # of each sample: tokens, logp and sampled_logp of each call
    replies: list[Reply | None]


Ends = Callable[
    [np.ndarray], int | None
]  # tokens of a text -> how many of them it has to the end of a stop text, if any


def bucket(length: int, smallest: int) -> int:
    """Returns the least of smallest, 2 * smallest, 4 * smallest ... that is not below a length."""
    return smallest * 2 ** max(0, int(np.ceil(np.log2(max(length, 1) / smallest))))


class Sampler:
    """The compiled programs of a model for one size of its cache. Use it again: it compiles once for each size."""

    def __init__(self, model: api.Model, samples: int, slots: int, max_tokens: int):
        self.model = dataclasses.replace(model, compute=dataclasses.replace(model.compute, unroll=1, remat="none"))
        self.mesh = model.compute.mesh
        self.rows = sharding.cut_rows(self.mesh)
        self.samples = samples
        self.groups = sharding.rounded_up(max(1, slots // samples), self.rows)
        self.slots = self.groups * samples
        self.room = sharding.rounded_up(max_tokens, ROUNDS)
        self._empty: dict[int, Callable[[], State]] = {}
        self._prefill = jax.jit(self._prefill_rows, donate_argnums=1)
        whole = sharding.replicated(self.mesh)
        self._decode = jax.jit(self._rounds, static_argnums=6, donate_argnums=1, out_shardings=(None, whole))

    def _variables(self, params: Params) -> dict[str, Any]:
        adapting = adapters.scaled(params.get("adapters", {}), self.model.adapter)
        return {"params": params[self.model.backbone], "adapters": adapting}

    def _run_prompts(self, params: Params, tokens: Tokens, read_BA: Array) -> tuple[Array, Any]:
        module = api.module(self.model)
        hidden_BAD, kept = module.apply(self._variables(params), tokens, read_BA, mutable=[cache.PREFILL])
        return hidden_BAD, kept[cache.PREFILL]

    def empty(self, params: Params, prompt_length: int) -> State:
        """Returns the state without any text, for prompts up to a length."""
        if prompt_length not in self._empty:
            self._empty[prompt_length] = self._make_empty(params, prompt_length)
        return self._empty[prompt_length]()

    def _make_empty(self, params: Params, prompt_length: int) -> Callable[[], State]:
        tokens = Tokens(*[jax.ShapeDtypeStruct((self.rows, prompt_length), jnp.int32)] * 4)
        read_BA = jax.ShapeDtypeStruct((self.rows, PROMPTS_PER_ROW), jnp.int32)
        hidden_BAD, kept = jax.eval_shape(self._run_prompts, params, tokens, read_BA)
        shapes = cache.empty(kept, {cache.PREFIX: (self.groups, prompt_length), cache.OWN: (self.slots, self.room)})
        hidden = jax.ShapeDtypeStruct((self.slots, hidden_BAD.shape[-1]), hidden_BAD.dtype)
        make = functools.partial(jax.tree.map, lambda x: jnp.zeros(x.shape, x.dtype))
        state = State(shapes[cache.PREFIX], shapes[cache.OWN], hidden)
        return jax.jit(lambda: make(state), out_shardings=sharding.of_cache(state, self.mesh))

    def _prefill_rows(
        self, params: Params, state: State, tokens: Tokens, read_BA: Array, starts_BA: Array, groups_BA: Array
    ) -> State:
        hidden_BAD, kept = self._run_prompts(params, tokens, read_BA)
        B, A = groups_BA.shape
        rows_Q, groups_Q = jnp.repeat(jnp.arange(B), A), groups_BA.reshape(-1)
        prefix = cache.insert(state.prefix, kept, rows_Q, starts_BA.reshape(-1), groups_Q)
        hidden_GND = state.hidden_SD.reshape(self.groups, self.samples, -1)
        hidden_GND = hidden_GND.at[groups_Q].set(hidden_BAD.reshape(B * A, 1, -1), mode="drop")
        return self._placed(State(prefix, state.own, hidden_GND.reshape(self.slots, -1)))

    def _placed(self, state: State) -> State:
        return jax.lax.with_sharding_constraint(state, sharding.of_cache(state, self.mesh))

    def begin(self, params: Params, state: State, prompts: dict[int, Sequence[int]]) -> State:
        """Computes prompts for some groups."""
        length = jax.tree.leaves(state.prefix)[0].shape[-2]
        waiting, needs = list(prompts.items()), [(len(ids), 1) for ids in prompts.values()]
        for batch in in_batches(pack(np.array(needs), (length, PROMPTS_PER_ROW)), self.rows):
            batch = [*batch, *[[]] * (self.rows - len(batch))]
            tokens = packed_rows([ids for _, ids in waiting], batch, (self.rows, length))
            read_BA, starts_BA = np.zeros((2, self.rows, PROMPTS_PER_ROW), np.int32)
            groups_BA = np.full((self.rows, PROMPTS_PER_ROW), self.groups, np.int32)
            for b, texts in enumerate(batch):
                sizes = [len(waiting[text][1]) for text in texts]
                starts_BA[b, : len(texts)] = np.cumsum([0, *sizes])[:-1]
                read_BA[b, : len(texts)] = np.cumsum(sizes) - 1
                groups_BA[b, : len(texts)] = [waiting[text][0] for text in texts]
            placed = jax.device_put((tokens, read_BA), sharding.of_batch(self.mesh, micro_batches=False))
            state = self._prefill(params, state, *placed, starts_BA, groups_BA)
        return state

    def _rounds(
        self,
        params: Params,
        state: State,
        prompt_G: Array,
        own_S: Array,
        uniform_RS: Array,
        how: Settings,
        longest: int,
    ) -> tuple[State, Chosen]:
        module, variables = api.module(self.model), self._variables(params)
        prompt_S = jnp.repeat(prompt_G, self.samples)
        recent = cache.recent_of(state.own, ROUNDS)
        own = jax.tree.map(lambda x: x[..., :longest, :], state.own)  # none has more yet
        read_S1 = jnp.zeros((self.slots, 1), jnp.int32)

        def one(carry: tuple[Any, Array], xs: tuple[Array, Array]) -> tuple[tuple[Any, Array], Chosen]:
            (recent, hidden_SD), (number, uniform_S) = carry, xs
            chosen = choose(next_logits(params, self.model, hidden_SD), uniform_S, how)
            place_S1 = (prompt_S + own_S + number)[:, None]
            tokens = cache.Continued(chosen.token_S[:, None], place_S1, prompt_G, own_S, number)
            collections = {cache.PREFIX: state.prefix, cache.OWN: own, cache.RECENT: recent}
            hidden_S1D, changed = module.apply(variables | collections, tokens, read_S1, mutable=[cache.RECENT])
            return (changed[cache.RECENT], hidden_S1D[:, 0]), chosen

        xs = jnp.arange(ROUNDS, dtype=jnp.int32), uniform_RS
        (recent, hidden_SD), chosen = jax.lax.scan(one, (recent, state.hidden_SD), xs)
        return self._placed(State(state.prefix, cache.merged(state.own, recent, own_S), hidden_SD)), chosen

    def go_on(
        self, params: Params, state: State, prompt_G: np.ndarray, own_S: np.ndarray, uniform_RS: Array, how: Settings
    ) -> tuple[State, Chosen]:
        """Chooses `ROUNDS` tokens more for every slot; of empty ones they mean nothing."""
        longest = min(self.room, bucket(int(own_S.max()), SMALLEST))
        state, chosen = self._decode(params, state, prompt_G, own_S, uniform_RS, how, longest)
        return state, jax.device_get(chosen)


@functools.partial(jax.jit, static_argnums=4)
def uniforms(seed: Array, numbers_S: Array, samples_S: Array, places_S: Array, rounds: int) -> Array:
    """Returns the random numbers [R, S] of tokens: a function of seed, prompt, sample and the token's place alone."""

    def of_token(number: Array, sample: Array, place: Array) -> Array:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), number), sample)
        return jax.random.uniform(jax.random.fold_in(key, place))

    of_slots = jax.vmap(of_token)
    return jax.vmap(lambda r: of_slots(numbers_S, samples_S, places_S + r))(jnp.arange(rounds))


def _cut(parts: list[list[np.ndarray]], ends: frozenset[int], is_stopped: Ends | None, most: int) -> Reply | None:
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


def generate(
    params: Params,
    model: api.Model,
    prompts: Sequence[Prompt],
    how: SampleConfig,
    ends: frozenset[int],
    is_stopped: Ends | None = None,
    sampler: Sampler | None = None,
) -> Iterator[tuple[int, list[Reply]]]:
    """Yields (place of a prompt, its samples) as they come to an end.

    Args:
      params: as `models.api.cast_for_scoring` returns them.
      ends: token ids after which a text is over.
      is_stopped: says where a text is over for another reason, and how many of its tokens count then.
      sampler: one that was used before, for the same numbers of samples and slots.
    """
    made = sampler or Sampler(
        model, how.n, how.slots or min(MOST_SLOTS, bucket(how.n * len(prompts), 1)), how.max_tokens
    )
    sizes: dict[int, list[int]] = {}
    for place, prompt in enumerate(prompts):
        sizes.setdefault(bucket(len(prompt.tokens), SMALLEST), []).append(place)
    for length in sorted(sizes, reverse=True):
        yield from _of_size(params, made, prompts, sizes[length], length, how, ends, is_stopped)


def _of_size(
    params: Params,
    sampler: Sampler,
    prompts: Sequence[Prompt],
    places: list[int],
    length: int,
    how: SampleConfig,
    ends: frozenset[int],
    is_stopped: Ends | None,
) -> Iterator[tuple[int, list[Reply]]]:
    """The same for prompts of one size."""
    G, N, S = sampler.groups, sampler.samples, sampler.slots
    state, waiting = sampler.empty(params, length), list(reversed(places))
    groups: dict[int, Group] = {}
    prompt_G, own_S = np.zeros(G, np.int32), np.zeros(S, np.int32)
    number_S, sample_S = np.zeros(S, np.uint32), np.tile(np.arange(N, dtype=np.int32), G)
    settings = Settings(*(np.full(S, x, t) for x, t in zip(
        (how.temperature, how.top_p, how.top_k, how.min_p), (np.float32, np.float32, np.int32, np.float32), strict=True
    )))  # fmt: skip
    while waiting or groups:
        fresh: dict[int, Sequence[int]] = {}
        for group in range(G):
            if group not in groups and waiting:
                place = waiting.pop()
                groups[group] = Group(place, [[] for _ in range(N)], [None] * N)
                fresh[group] = prompts[place].tokens
                slots = slice(group * N, (group + 1) * N)
                prompt_G[group], own_S[slots], number_S[slots] = len(fresh[group]), 0, prompts[place].number
        if fresh:
            state = sampler.begin(params, state, fresh)
        uniform_RS = uniforms(how.seed, number_S, sample_S, own_S, ROUNDS)
        state, chosen = sampler.go_on(params, state, prompt_G, own_S, uniform_RS, settings)
        own_S = np.minimum(own_S + ROUNDS, sampler.room)
        for group in list(groups):
            of = groups[group]
            for n in range(N):
                if of.replies[n] is None:
                    of.parts[n].append([x[:, group * N + n] for x in chosen])
                    most = min(prompts[of.place].max_tokens or how.max_tokens, how.max_tokens)
                    of.replies[n] = _cut(of.parts[n], ends, is_stopped, most)
            done = [r for r in of.replies if r is not None]
            if len(done) == N:
                del groups[group]
                own_S[group * N : (group + 1) * N] = 0
                yield of.place, done
