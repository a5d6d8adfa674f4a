"""The Gittins index of a Bernoulli arm: the certain reward per pull that is worth as much as the arm, for ever.

John C. Gittins. Bandit Processes and Dynamic Allocation Indices. Journal of the Royal Statistical Society B 41(2), 1979. The
method is calibration: John Gittins, Kevin Glazebrook and Richard Weber. Multi-armed Bandit Allocation Indices. Wiley, 2011.
"""

import math
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_meta.core import InputError


@cache
def gittins_index(pulls: int, gamma: float, ahead: int | None = None) -> Float[Tensor, "wins losses"]:
    """Return the indices of an arm by its wins and losses, with a success rate uniform in [0, 1] before any pull.

    The result is [pulls + 1, pulls + 1], right within 1e-4 where wins + losses <= pulls and 0 elsewhere.

    Args:
        pulls: the largest number of pulls.
        gamma: the discount per pull.
        ahead: the number of pulls beyond `pulls` that the dynamic program looks ahead, where an arm is taken to be as good
            as its mean; by default until what follows counts less than 1e-4, at most 1500.

    Raises:
        InputError: unless 0 < gamma < 1.
    """
    if not 0 < gamma < 1:
        raise InputError(f"gamma is {gamma}: give a number between 0 and 1")
    if ahead is None:
        ahead = min(math.ceil(math.log(1e-4) / math.log(gamma)), 1500)
    certain = torch.linspace(0, 1, 501, dtype=torch.float64)  # every index lies between two of these rewards
    table = torch.zeros(pulls + 1, pulls + 1)
    all_pulls = pulls + ahead
    value = torch.maximum(mean(all_pulls + 1), certain)  # times 1 - gamma, after all pulls and 0, 1, ... wins
    for pulled in range(all_pulls, -1, -1):
        p = mean(pulled)
        pull_again = p * (1 - gamma) + gamma * (p * value[1:] + (1 - p) * value[:-1])
        if pulled <= pulls:
            wins = torch.arange(pulled + 1)
            table[wins, pulled - wins] = crossing(pull_again - certain, certain).float()
        value = torch.maximum(pull_again, certain)
    return table


def mean(pulled: int) -> Float[Tensor, "wins 1"]:
    """Return the expected success rate of an arm after `pulled` pulls and 0, 1, ... wins."""
    return ((torch.arange(pulled + 1, dtype=torch.float64) + 1) / (pulled + 2)).unsqueeze(1)


def crossing(gain: Float[Tensor, "n rewards"], rewards: Float[Tensor, " rewards"]) -> Float[Tensor, " n"]:
    """Return where a gain that falls along `rewards` is 0, by linear interpolation."""
    at = (gain > 0).sum(1).clamp(1, len(rewards) - 1)
    before, behind = (gain.gather(1, (at + k).unsqueeze(1)).squeeze(1) for k in (-1, 0))
    return rewards[at - 1] + (rewards[1] - rewards[0]) * (before / (before - behind)).clamp(0, 1)


@cache
def whittle_index(pulls: int, gamma: float = 1.0) -> Float[Tensor, "wins losses"]:
    """Return Whittle's closed-form approximation of the index, which has a limit without discounting.

    With n pulls and mean m of an arm, and c = -log gamma: m + m (1 - m) / (n sqrt((2 c + 1/n) m (1 - m)) + m - 1/2).

    Peter Whittle. Optimization over Time, volume 1. Wiley, 1982. A uniform prior counts as one win and one loss.
    """
    a, b = torch.meshgrid(*[torch.arange(1.0, pulls + 2, dtype=torch.float64)] * 2, indexing="ij")
    n, m = a + b, a / (a + b)
    spread = m * (1 - m)
    index = m + spread / (n * ((1 / n - 2 * math.log(gamma)) * spread).sqrt() + m - 0.5)
    return index.float()
