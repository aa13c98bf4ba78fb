"""The tuples that cross rooms, and the one key of dimension letters.

Arrays of rank two or more carry their dimensions in their name, and einsums use the same letters:

    B  packed rows in a batch         T  query position        S  key position
    D  model width                    N  query heads           K  key/value heads      G  N // K
    H  size of one head               F  feed-forward width    V  vocabulary           L  layers
    Q  questions in a packed row      C  options               W  surface variants of an option
    A  answer positions in a row
    M  micro-batches in a step        R  bootstrap resamples   E  examples (host side, one row each)
    J  blocks of queries in a row     U  keys listed for a block

This module knows no array library: annotations are documentation.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

Array = Any  # a numpy or JAX array
Params = dict[str, Any]  # nested dict of arrays

NEG = -1e30  # the logit of what does not exist. Finite, so that 0 votes * NEG is 0, and an empty row not NaN


class UserError(Exception):
    """A mistake in what the user gave us: printed as one message, without a traceback, exit code 2.

    The message names the place (file, row, key), what was expected, what was found, and the remedy.
    """


class StorageError(Exception):
    """A disk that is full, read-only, or broken: printed as one message, without a traceback, exit code 74.

    The message names the place, what the system says, what is still there, and the remedy.
    """


class Preempted(Exception):  # noqa: N818  (no error: what ends well, but early)
    """The work was told to end (SIGTERM), and has ended at a safe place; the message says how to go on."""


Item = tuple[int, tuple[int, ...]]  # which example of a list, and in which order its options are shown


class Example(NamedTuple):
    """One question that people voted on, before any tokenizer has seen it."""

    id: str
    question: str  # never shortened
    options: tuple[str, ...]  # in the data's own order
    counts: tuple[float, ...]  # votes for each option, same order
    title: str = ""
    text: str = ""  # what is judged; shortened in the middle when a prompt would be too long
    second_counts: tuple[float, ...] | None = None  # votes of an independent second panel
    keys: tuple[str, ...] = ()  # what this row shares with others (action ids): never on both sides of a split
    groups: dict[str, str] = {}  # named subsets for the report, e.g. {"vote split": "4-1"}
    messages: tuple[dict[str, str], ...] = ()  # chat turns that come before the question
    positions: tuple[float, ...] = ()  # places of the options on an ordinal scale; empty where they have no order
    source: str = ""  # which source of a mixture it is from
    exchangeable: bool = False  # the place of an option says nothing: what is named first is chosen, or true
    notes: dict[str, Any] = {}  # what its record says besides, such as a questionnaire's condition; no model reads it


REFERENCE = "reference"  # the column of log-probabilities under the weights that a stage begins with
# Other columns of tokens, of texts that the model wrote itself:
OLD = "old"  # log-probability under the weights that wrote the text, as the trainer computes it
SAMPLED = "sampled"  # the same, as the sampler computed it
ADVANTAGE = "advantage"
SHARE = "share"  # weight in the loss; a text's DIVISOR is what the sum over its tokens is divided by
DIVISOR = "divisor"
RETURN = "return"  # what a critic should have said at the token
OLD_VALUE = "old_value"  # what it said


class Tokens(NamedTuple):
    """Packed rows of token ids: all that a backbone reads."""

    tokens_BT: Array  # int32
    segments_BT: Array  # int32: 1, 2, 3, ... in row order, of beginnings and of what questions add; 0 is padding
    ends_BT: Array  # int32: a token is seen by queries of segments in [its segment, its end)
    positions_BT: Array  # int32: place in the question, its shared beginnings counted in
    types_BT: Array | None = None  # int32: 1 in the second text of a pair, else 0; only encoders read it
    # int32: index into T of every key that some query of a block sees, -1 behind them; None: not listed. Block j has
    # the queries from j * T / J. Only plain attention reads it, to leave out the others.
    keys_BJU: Array | None = None


class Options(NamedTuple):
    """What is asked where answers are options: labels of a vocabulary, or rows of a score head.

    An option is read from the model's state at a read position: in a decoder the last token of a prompt, in an encoder
    the first of a text. A question has one for all of its options, or one for each.
    """

    read_BA: Array  # int32: index into T
    read_of_option_BQC: Array  # int32: index into A
    option_ids_BQCW: Array  # int32 rows of the table that options are read from; -1 where there is none
    counts_BQC: Array  # float32 votes, in the order in which the options are shown
    weights_BQ: Array  # float32 weight of the question; 0 where the slot is empty
    items_BQ: Array  # int32: which item of the source; -1 where empty


class Texts(NamedTuple):
    """What is asked where answers are whole texts: completions of a prompt, or documents.

    A text is read token by token: its log-probability is the sum over its read positions. A question has one text
    (supervised fine-tuning), or several that are compared (preferences, multiple choice).
    """

    read_BA: Array  # int32: index into T of the token before the one that is predicted
    target_ids_BA: Array  # int32: the token that is predicted; 0 where nothing is
    text_of_BA: Array  # int32: which text of the row the token belongs to, q * C + c; -1 where nothing is read
    token_weights_BA: Array  # float32 weight of the token; 0 where nothing is read
    counts_BQC: Array  # float32 votes for each text
    weights_BQ: Array  # float32 weight of the question; 0 where the slot is empty
    items_BQ: Array  # int32: which item of the source; -1 where empty
    columns: dict[str, Array]  # float32 [B, Q, C] by name: what was computed before training, such as a reference
    token_columns: dict[str, Array]  # float32 [B, A] by name: the same for each token that is read


class Batch(NamedTuple):
    """Packed rows and what is asked about them; every leaf has a fixed shape and a leading B.

    Micro-batches put a leading M on every leaf. `asks` is `Options`, `Texts`, or another tuple with at least `read_BA`,
    `weights_BQ` and `items_BQ`: the loop, the step and the mesh read no other field.
    """

    tokens: Tokens
    asks: Any


class OptionScores(NamedTuple):
    """What a model says about the options of every question."""

    logits_BQC: Array  # float32, log of the summed weight of an option's variants; NEG where absent
    log_concentration_BQ: Array  # float32: log of the Dirichlet concentration s, alpha = s * p


class TextScores(NamedTuple):
    """What a model says about every text of every question."""

    logp_BQC: Array  # float32: log-probability, the weighted sum over the text's tokens
    tokens_BQC: Array  # float32: the summed weight of these tokens; 0 where there is no text


class TokenScores(NamedTuple):
    """What a model says about every token that is read."""

    logp_BA: Array  # float32: log-probability of the token, nats
    entropy_BA: Array  # float32: entropy of the distribution that it is one draw of, nats; no gradient


class ReadOut(Protocol):
    """One forward pass over a batch, and what can be read of it at the read positions; made by `models.read_out`."""

    def options(self) -> OptionScores:
        """Returns the score of every option: of `asks: Texts` the log-probability of the option's text."""
        ...

    def texts(self) -> TextScores:
        """Returns the log-probability of every text of `asks: Texts`."""
        ...

    def logp(self, target_ids_BA: Array) -> Array:
        """Returns the log-probability [B, A] of a token of the vocabulary at every read position."""
        ...

    def tokens(self, temperature: float) -> TokenScores:
        """Returns what is said of every token of `asks: Texts`, where logits are divided by a temperature."""
        ...

    def value(self) -> Array:
        """Returns what the critic expects [B, A] at every read position."""
        ...


class Source(Protocol):
    """Where the batches of training come from: packed rows, a mixture, or rollouts."""

    def __len__(self) -> int:
        """Returns the number of steps that it has batches for."""
        ...

    def stream(self, start: int, stop: int, params: Callable[[], Params]) -> Iterator[Batch]:
        """Yields this process's part of the batches of steps start + 1 .. stop, each a function of its number and, in
        a source that calls `params`, of the parameters that training has reached.

        A batch has whole micro-batches of rows; a source that never calls `params` may work ahead.
        """
        ...

    def names(self, batch: Batch) -> list[str]:
        """Returns the ids of the rows that lie in a batch."""
        ...


Metric = tuple[Array, Array]  # (sum, weight): never a mean, so that any split of a batch adds up
Metrics = dict[str, Metric]


class TrainState(NamedTuple):
    """All that training carries from one step to the next."""

    step: Array  # int32 scalar: optimizer steps done
    params: Params  # those that are trained
    opt_state: Any
