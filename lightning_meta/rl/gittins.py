"""The Gittins index of a Bernoulli arm: the sure pay for which one would as soon give up an arm, for ever, as pull it.

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
def gittins_index(pulls: int, discount: float, ahead: int | None = None) -> Float[Tensor, "wins losses"]:
    """Indices of an arm whose odds were uniform in [0, 1] before it won so often and lost so often: [pulls + 1, pulls + 1],
    right where wins + losses <= pulls and 0 elsewhere. Within 1e-4.

    Pay at the next pull counts `discount` of pay at this one. The dynamic program looks `ahead` pulls beyond `pulls`, where
    an arm is taken to be as good as its mean; by default until what lies beyond counts less than 1e-4, at most 1500.

    Raises InputError unless 0 < discount < 1.
    """
    if not 0 < discount < 1:
        raise InputError(f"discount is {discount}; give a number between 0 and 1")
    if ahead is None:
        ahead = min(math.ceil(math.log(1e-4) / math.log(discount)), 1500)
    pays = torch.linspace(0, 1, 501, dtype=torch.float64)  # sure ones, which each index lies between two of
    table = torch.zeros(pulls + 1, pulls + 1)
    whole = pulls + ahead
    value = torch.maximum(mean(whole + 1), pays)  # times 1 - discount, of so many pulls and 0, 1, ... wins
    for pulled in range(whole, -1, -1):
        p = mean(pulled)
        go_on = p * (1 - discount) + discount * (p * value[1:] + (1 - p) * value[:-1])
        if pulled <= pulls:
            wins = torch.arange(pulled + 1)
            table[wins, pulled - wins] = crossing(go_on - pays, pays).float()
        value = torch.maximum(go_on, pays)
    return table


def mean(pulled: int) -> Float[Tensor, "wins 1"]:
    """The odds of an arm that was pulled so often and won 0, 1, ... times, as expected."""
    return ((torch.arange(pulled + 1, dtype=torch.float64) + 1) / (pulled + 2)).unsqueeze(1)


def crossing(gain: Float[Tensor, "n pays"], pays: Float[Tensor, " pays"]) -> Float[Tensor, " n"]:
    """Where a gain that falls along `pays` is 0, by a straight line between its neighbours."""
    at = (gain > 0).sum(1).clamp(1, len(pays) - 1)
    before, behind = (gain.gather(1, (at + k).unsqueeze(1)).squeeze(1) for k in (-1, 0))
    return pays[at - 1] + (pays[1] - pays[0]) * (before / (before - behind)).clamp(0, 1)


@cache
def whittle_index(pulls: int, discount: float = 1.0) -> Float[Tensor, "wins losses"]:
    """Whittle's approximation of the same in closed form, which has a limit for undiscounted pay: with n pulls and mean m of
    an arm, and c = -log discount, m + m (1 - m) / (n sqrt((2 c + 1/n) m (1 - m)) + m - 1/2).

    Peter Whittle. Optimization over Time, volume 1. Wiley, 1982. A uniform prior counts as a win and a loss.
    """
    a, b = torch.meshgrid(*[torch.arange(1.0, pulls + 2, dtype=torch.float64)] * 2, indexing="ij")
    n, m = a + b, a / (a + b)
    spread = m * (1 - m)
    index = m + spread / (n * ((1 / n - 2 * math.log(discount)) * spread).sqrt() + m - 0.5)
    return index.float()
