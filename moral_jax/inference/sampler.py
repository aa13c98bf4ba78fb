"""The compiled programs of sampling: prompts are computed, then texts go on `ROUNDS` tokens in a call.

Sizes are static and few: rows of prompts have room for 128, 256, 512 ... tokens, and what texts have of their own is
read in such sizes too. All else is data. Every row of a program is computed by itself.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from moral_jax import sharding
from moral_jax.data.pack import in_batches, pack
from moral_jax.inference.choose import Chosen, Settings, choose
from moral_jax.inference.states import packed_rows
from moral_jax.models import api, cache
from moral_jax.models.read_out import next_logits
from moral_jax.types import Array, Params, Tokens

ROUNDS = 16  # tokens of every text in one call
SMALLEST = 128  # tokens of a packed row of prompts
PROMPTS_PER_ROW = 8
COPIED = 2**31  # bytes of weights of which a CPU may hold copies


def bucket(length: int, smallest: int) -> int:
    """Returns the least of smallest, 2 * smallest, 4 * smallest ... that is not below a length."""
    return smallest * 2 ** max(0, int(np.ceil(np.log2(max(length, 1) / smallest))))


def _unroll(model: api.Model) -> int:
    """Returns how many layers of a loop over layers are spelled out.

    On a CPU, XLA copies what such a loop reads of stacked weights, for every token anew. Spelled out, it copies them
    once in a call, in the type of the product; so this is for small ones, and not for those that are dequantised.
    """
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(api.abstract_params(model)[model.backbone]))
    is_cpu = model.compute.mesh.devices.flat[0].platform == "cpu"
    return model.spec.layers if is_cpu and model.quantize == "none" and size <= COPIED else 1


class State(NamedTuple):
    """Texts in progress, on the devices."""

    prefix: Any
    own: Any
    hidden_SD: Array  # the state that the next token is read from


class Sampler:
    """The compiled programs of a model for one size of its cache. Use it again: it compiles once for each size."""

    def __init__(self, model: api.Model, samples: int, slots: int, max_tokens: int):
        compute = dataclasses.replace(model.compute, unroll=1, remat="none")
        self.model = dataclasses.replace(model, compute=compute)
        self._decoding = dataclasses.replace(model, compute=dataclasses.replace(compute, unroll=_unroll(model)))
        self.mesh = model.compute.mesh
        self.rows = sharding.cut_rows(self.mesh)
        self.samples = samples
        self.groups = sharding.rounded_up(max(1, slots // samples), self.rows)
        self.slots = self.groups * samples
        self.room = sharding.rounded_up(max_tokens, ROUNDS)
        self._empty: dict[int, Callable[[], State]] = {}
        self._prefill = jax.jit(self._prefill_rows, donate_argnums=1)
        self._cut = jax.jit(self._first_places, static_argnums=1)
        whole = sharding.replicated(self.mesh)
        self._decode = jax.jit(self._rounds, static_argnums=6, donate_argnums=1, out_shardings=(None, whole))

    def _run_prompts(self, params: Params, tokens: Tokens, read_BA: Array) -> tuple[Array, Any]:
        module = api.module(self.model)
        hidden_BAD, kept = module.apply(api.variables(params, self.model), tokens, read_BA, mutable=[cache.PREFILL])
        return hidden_BAD, kept[cache.PREFILL]

    def empty(self, params: Params, prompt_length: int) -> State:
        """Returns the state without any text, for prompts up to a length."""
        if prompt_length not in self._empty:
            self._empty[prompt_length] = self._make_empty(params, prompt_length)
        return self._empty[prompt_length]()

    def _prompt_shapes(self, prompt_length: int) -> tuple[Tokens, Any]:
        """Returns the shapes of packed rows of prompts, and of their read positions."""
        where = sharding.of_batch(self.mesh, micro_batches=False)
        tokens = jax.ShapeDtypeStruct((self.rows, prompt_length), jnp.int32, sharding=where)
        return Tokens(*[tokens] * 4), jax.ShapeDtypeStruct((self.rows, PROMPTS_PER_ROW), jnp.int32, sharding=where)

    def abstract_state(self, params: Params, prompt_length: int) -> State:
        """Returns shapes, types and shardings of the state for prompts up to a length, without computing any.

        Args:
          params: arrays or shapes.
        """
        hidden_BAD, kept = jax.eval_shape(self._run_prompts, params, *self._prompt_shapes(prompt_length))
        shapes = State(
            prefix=cache.room(kept, self.groups, prompt_length),
            own=cache.room(kept, self.slots, self.room),
            hidden_SD=jax.ShapeDtypeStruct((self.slots, hidden_BAD.shape[-1]), hidden_BAD.dtype),
        )
        places = sharding.of_cache(shapes, self.mesh)
        return jax.tree.map(lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), shapes, places)

    def _make_empty(self, params: Params, prompt_length: int) -> Callable[[], State]:
        shapes = self.abstract_state(params, prompt_length)

        def zeros() -> State:
            return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

        return jax.jit(zeros, out_shardings=jax.tree.map(lambda x: x.sharding, shapes))

    def lower(self, params: Params, prompt_length: int) -> tuple[jax.stages.Lowered, jax.stages.Lowered]:
        """Returns the programs that begin texts and that go on with full ones, not yet compiled.

        Args:
          params: shapes with shardings.
        """
        state, whole = self.abstract_state(params, prompt_length), sharding.replicated(self.mesh)

        def of(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(shape, dtype, sharding=whole)

        tokens, read_BA = self._prompt_shapes(prompt_length)
        where_BA = of((self.rows, PROMPTS_PER_ROW), jnp.int32)
        numbers, S = jnp.float32, (self.slots,)
        how = Settings(of(S, numbers), of(S, numbers), of(S, jnp.int32), of(S, numbers))
        lengths = of((self.groups,), jnp.int32), of(S, jnp.int32)
        prefill = self._prefill.lower(params, state, tokens, read_BA, where_BA, where_BA)
        return prefill, self._decode.lower(params, state, *lengths, of((ROUNDS, *S), numbers), how, self.room)

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

    def _placed(self, state: Any) -> Any:
        return jax.lax.with_sharding_constraint(state, sharding.of_cache(state, self.mesh))

    def begin(self, params: Params, state: State, prompts: dict[int, Sequence[int]]) -> State:
        """Computes prompts for some groups, in rows with room for the longest of them."""
        length = bucket(max(map(len, prompts.values())), SMALLEST)
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

    def shrunk(self, state: State, prompt_length: int) -> State:
        """Returns the state with room for prompts up to a length alone; none in progress may be longer."""
        return state._replace(prefix=self._cut(state.prefix, prompt_length))

    def _first_places(self, prefix: Any, places: int) -> Any:
        return self._placed(jax.tree.map(lambda x: x[..., :places, :], prefix))

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
        module, variables = api.module(self._decoding), api.variables(params, self.model)
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
