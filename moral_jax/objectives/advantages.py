"""From rewards of texts to what each of their tokens weighs in the loss: pure maths on the host, a rollout at a time.

Arrays of groups are [P, G], P prompts with G texts each; NaN is a reward that nobody could say. Lists of tokens hold
one array a text. Golden values are in tests/objectives/test_advantages.py.
"""

from collections.abc import Sequence

import numpy as np

EPSILON = 1e-4  # added to the standard deviation of a group, as TRL does


def of_groups(rewards_PG: np.ndarray, baseline: str, scale: str) -> np.ndarray:
    """Returns the advantage of each text against its group, [P, G]; 0 where its reward is not known.

    Args:
      baseline: "mean" of the group, mean of the "others" (leave-one-out, arXiv 2402.14740), or "none".
      scale: "group" divides by the unbiased standard deviation of the group (GRPO, arXiv 2402.03300), "none" does not
        (Dr. GRPO, arXiv 2503.20783).
    """
    known_PG = np.isfinite(rewards_PG)
    values_PG, count_P1 = np.where(known_PG, rewards_PG, 0.0), known_PG.sum(-1, keepdims=True)
    mean_P1 = values_PG.sum(-1, keepdims=True) / np.maximum(count_P1, 1)
    centred_PG = np.where(known_PG, rewards_PG - mean_P1, 0.0)
    if baseline == "none":
        out_PG = values_PG
    elif baseline == "others":
        out_PG = centred_PG * count_P1 / np.maximum(count_P1 - 1, 1)
    else:
        out_PG = centred_PG
    if scale == "group":
        deviation_P1 = np.sqrt(np.square(centred_PG).sum(-1, keepdims=True) / np.maximum(count_P1 - 1, 1))
        out_PG = out_PG / (deviation_P1 + EPSILON)
    return out_PG


def without_signal(rewards_PG: np.ndarray) -> np.ndarray:
    """Returns which groups have equal rewards, or fewer than two known ones, [P]: nothing is learned from them."""
    known_PG = np.isfinite(rewards_PG)
    low_P = np.where(known_PG, rewards_PG, np.inf).min(-1)
    high_P = np.where(known_PG, rewards_PG, -np.inf).max(-1)
    return ~(high_P > low_P)


def token_rewards(reward: float, kl_T: np.ndarray, penalty: float) -> np.ndarray:
    """Returns the reward at each token: - penalty * (log p - log p_ref), and the text's own at its last token."""
    rewards_T = -penalty * kl_T
    rewards_T[-1] += reward
    return rewards_T


def generalised(
    rewards_T: np.ndarray, values_T: np.ndarray, discount: float, trace: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns advantages and returns of a text's tokens by generalised advantage estimation (arXiv 1506.02438).

    The text is over after its last token, so that nothing is expected after it.
    """
    advantages_T, following, value = np.zeros_like(values_T), 0.0, 0.0
    for t in reversed(range(len(values_T))):
        error = rewards_T[t] + discount * value - values_T[t]
        following = error + discount * trace * following
        advantages_T[t], value = following, values_T[t]
    return advantages_T, advantages_T + values_T


def whitened(texts: Sequence[np.ndarray], learned: Sequence[bool]) -> list[np.ndarray]:
    """Returns the numbers of all tokens shifted and scaled, to mean 0 and unbiased variance 1 of the texts that are
    learned from."""
    all_T = np.concatenate(
        [values_T for values_T, is_learned in zip(texts, learned, strict=True) if is_learned] or texts
    )
    deviation = np.sqrt(all_T.var(ddof=1) + 1e-8) if len(all_T) > 1 else 1.0
    return [(values_T - all_T.mean()) / deviation for values_T in texts]


def reduction(kind: str, tokens: int, most: int) -> tuple[float, float]:
    """Returns the weight of a text's tokens, and its share of what the sum is divided by.

    Args:
      kind: "texts" (mean over texts of their means), "tokens" (mean over tokens), "fixed" (sums, divided by the number
        of texts and by `most`), "sums" (sums, divided by the number of texts).
      tokens: of the text.
      most: tokens that a text can have.
    """
    return {"texts": (1 / tokens, 1.0), "tokens": (1.0, float(tokens)), "fixed": (1 / most, 1.0), "sums": (1.0, 1.0)}[
        kind
    ]
