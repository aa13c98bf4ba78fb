"""From a rollout to rows that training reads: token ids as they were sampled, and the columns of a policy gradient."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from moral_jax.config import Config
from moral_jax.config.rollout import RolloutConfig
from moral_jax.data.encode import Encoded
from moral_jax.data.layout import Questions
from moral_jax.data.tokens import Text
from moral_jax.objectives import advantages
from moral_jax.objectives.base import Objective
from moral_jax.respondents.sampling import Asked
from moral_jax.runs.rollouts import IDS, Rollout
from moral_jax.types import (
    ADVANTAGE,
    DIVISOR,
    OLD,
    OLD_VALUE,
    REFERENCE,
    RETURN,
    SAMPLED,
    SHARE,
    Example,
    Item,
)

OfTexts = dict[str, list[np.ndarray]]  # by name, an array for each reply


@dataclasses.dataclass(frozen=True)
class Needs:
    """What must be known of a rollout beside what the sampler says."""

    old: bool  # several steps learn from it, or it is compared with the reference
    reference: bool  # a KL divergence is weighed
    critic: bool

    @classmethod
    def of(cls, config: Config, objective: Objective) -> "Needs":
        """Returns what a config needs."""
        kl = config.objective.kl_weight > 0 or config.rollout.kl_penalty > 0
        return cls(config.rollout.steps_each > 1 or kl, kl, RETURN in objective.columns)

    @property
    def token_columns(self) -> tuple[str, ...]:
        """The names of the columns of a batch."""
        names = {OLD: self.old, REFERENCE: self.reference, RETURN: self.critic, OLD_VALUE: self.critic}
        return (ADVANTAGE, SHARE, SAMPLED, *(name for name, needed in names.items() if needed))


def rows_of(examples: Sequence[Example], asked: Sequence[Asked], ids: Sequence[np.ndarray]) -> Questions:
    """Returns replies as rows that are read token by token: their own tokens, never encoded again.

    Args:
      asked: the prompts of the examples.
      ids: the tokens of the replies, those of a prompt side by side.
    """
    each = len(ids) // len(asked)
    encoded: list[Encoded] = []
    items: list[Item] = []
    for place, ids_T in enumerate(ids):
        prompt = np.array(asked[place // each].prompt.tokens, np.int32)
        tokens_T = np.concatenate([prompt, ids_T])
        reads_T = np.arange(len(tokens_T)) >= len(prompt)
        encoded.append(Encoded((Text(tokens_T, np.zeros_like(tokens_T), reads_T),), ()))
        items.append((place // each, (0,)))
    return Questions(examples, items, encoded, 0, is_encoder=False)


def rewards_of(rollout: Rollout, how: RolloutConfig) -> np.ndarray:
    """Returns the reward of each reply less its penalty, [P, G]; NaN where it is not known."""
    rewards = [np.nan if line.reward is None else line.reward for line in rollout.lines]
    cut = np.array([line.reason == "length" for line in rollout.lines])
    return (np.array(rewards) - how.unfinished_penalty * cut).reshape(-1, how.sample.n)


def without_signal(rollout: Rollout, how: RolloutConfig, needs: Needs) -> dict[str, float]:
    """Returns the share of groups from which nothing is learned, as all replies are worth the same; nothing where
    replies are not compared."""
    if needs.critic or how.baseline == "none":
        return {}
    return {"without_signal": float(advantages.without_signal(rewards_of(rollout, how)).mean())}


def with_columns(questions: Questions, rollout: Rollout, how: RolloutConfig, needs: Needs) -> Questions:
    """Gives rows all columns that the objective reads.

    A reply whose reward is not known, or that was cut where such are dropped, weighs nothing, and is not counted.
    """
    tokens, cut = rollout.tokens, np.array([line.reason == "length" for line in rollout.lines])
    rewards_PG = rewards_of(rollout, how)
    learned = np.isfinite(rewards_PG.reshape(-1)) & ~(cut & (how.cut == "drop"))
    shares, divisors = [], []
    for is_learned, ids_T in zip(learned, tokens[IDS], strict=True):
        share, divisor = advantages.reduction(how.reduction, len(ids_T), how.sample.max_tokens)
        shares.append(np.full(len(ids_T), share * is_learned, np.float32))
        divisors.append([divisor * is_learned])
    found = of_critic(rewards_PG, tokens, how, learned) if needs.critic else of_groups(rewards_PG, tokens, how)
    known = {name: tokens[name] for name in needs.token_columns if name in tokens}
    questions.columns = {DIVISOR: np.array(divisors, np.float32)}
    questions.token_columns = known | found | {SHARE: shares}
    return questions


def of_groups(rewards_PG: np.ndarray, tokens: OfTexts, how: RolloutConfig) -> OfTexts:
    """Returns the advantage of each token: that of its text against its group."""
    if how.kl_penalty:
        sums = [(o - r).sum() for o, r in zip(tokens[OLD], tokens[REFERENCE], strict=True)]
        rewards_PG = rewards_PG - how.kl_penalty * np.array(sums).reshape(rewards_PG.shape)
    of_texts = advantages.of_groups(rewards_PG, how.baseline, how.scale).reshape(-1)
    return {ADVANTAGE: [np.full(len(i), a, np.float32) for i, a in zip(tokens[IDS], of_texts, strict=True)]}


def of_critic(rewards_PG: np.ndarray, tokens: OfTexts, how: RolloutConfig, learned: np.ndarray) -> OfTexts:
    """Returns advantage and return of each token by generalised advantage estimation.

    Args:
      learned: which replies are learned from.
    """
    found = []
    for n, (reward, value_T) in enumerate(zip(rewards_PG.reshape(-1), tokens[OLD_VALUE], strict=True)):
        kl_T = tokens[OLD][n] - tokens[REFERENCE][n] if REFERENCE in tokens else np.zeros_like(value_T)
        given_T = advantages.token_rewards(np.nan_to_num(reward), kl_T, how.kl_penalty)
        found.append(advantages.generalised(given_T, value_T, how.discount, how.trace))
    of_texts = [a_T for a_T, _ in found]
    scaled = advantages.whitened(of_texts, learned.tolist()) if how.whiten else of_texts
    return {ADVANTAGE: scaled, RETURN: [r_T for _, r_T in found]}
