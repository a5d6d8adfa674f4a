"""Bernoulli bandits: k arms, each pays 1 with a probability of its own. There is nothing to see but what was paid.

Yan Duan et al. RL2: Fast Reinforcement Learning via Slow Reinforcement Learning. 2016, arXiv:1611.02779, section 3.1.
Jane X. Wang et al. Learning to Reinforcement Learn. 2016, arXiv:1611.05763, section 3.1.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_meta.core import InputError, Moved, World, uniform
from lightning_meta.envs.arguments import at_least_one

CORRELATED = {"uniform": None, "easy": 0.1, "medium": 0.25, "hard": 0.4}  # the lower odds; None: any


class Bandits(World):
    """Arms with independent success rates, uniform in [0, 1]. An episode is `horizon` pulls: of one trial, usually."""

    def __init__(self, arms: int = 5, horizon: int = 10):
        at_least_one(arms=arms, horizon=horizon)
        self.observations, self.actions, self.discrete = 0, arms, True
        self.horizon, self.noise = horizon, 1

    def task(self, seeds: Int[Tensor, " tasks"]) -> Float[Tensor, "tasks arms"]:
        return uniform(seeds, "arms", self.actions)

    def reset(self, task: Tensor, u: Float[Tensor, "tasks envs 1"]) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        return u[..., :0], u[..., :0]

    def step(self, task: Tensor, state: Tensor, action: Tensor, u: Float[Tensor, "tasks envs 1"]) -> Moved:
        return Moved(state, state, paid(task, action, u), torch.zeros_like(action, dtype=torch.bool))


class TwoArms(World):
    """Two arms; the observation is the time, as the share of the horizon that is over.

    odds: `independent`, both uniform in [0, 1]; or correlated, so that one arm tells of the other: p1 = 1 - p2, of which
    one, either, is in [0, 1] (`uniform`), 0.1 (`easy`), 0.25 (`medium`) or 0.4 (`hard`).
    """

    def __init__(self, odds: str = "independent", horizon: int = 100):
        if odds not in ("independent", *CORRELATED):
            raise InputError(f"odds {odds!r}: give one of independent, {', '.join(CORRELATED)}")
        at_least_one(horizon=horizon)
        self.odds = odds
        self.observations, self.actions, self.discrete = 1, 2, True
        self.horizon, self.noise = horizon, 1

    def task(self, seeds: Int[Tensor, " tasks"]) -> Float[Tensor, "tasks 2"]:
        u = uniform(seeds, "arms", 2)
        if self.odds == "independent":
            return u
        low = CORRELATED[self.odds]
        first = u[:, 0] if low is None else torch.where(u[:, 0] < 0.5, low, 1 - low)
        return torch.stack([first, 1 - first], 1)

    def reset(self, task: Tensor, u: Float[Tensor, "tasks envs 1"]) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        return torch.zeros_like(u), torch.zeros_like(u)

    def step(self, task: Tensor, state: Tensor, action: Tensor, u: Float[Tensor, "tasks envs 1"]) -> Moved:
        pulls = state + 1
        return Moved(pulls, pulls / self.horizon, paid(task, action, u), torch.zeros_like(action, dtype=torch.bool))


def paid(odds: Float[Tensor, "tasks arms"], arm: Int[Tensor, "tasks envs"], u: Float[Tensor, "tasks envs 1"]) -> Tensor:
    """1 where an arm pays, [tasks, envs]."""
    return (u[..., 0] < odds.gather(1, arm)).to(u.dtype)
