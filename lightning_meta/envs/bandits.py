"""Bernoulli bandits: k arms, each of which pays 1 with a probability of its own. Only rewards can be observed.

Yan Duan et al. RL2: Fast Reinforcement Learning via Slow Reinforcement Learning. 2016, arXiv:1611.02779, section 3.1.
Jane X. Wang et al. Learning to Reinforcement Learn. 2016, arXiv:1611.05763, section 3.1.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_meta.core import InputError, Transition, World, check_at_least, uniform

CORRELATED = {"uniform": None, "easy": 0.1, "medium": 0.25, "hard": 0.4}  # the lower probability; None: any


class Bandits(World):
    """Arms with independent success probabilities, uniform in [0, 1].

    A trial usually has one episode.

    Args:
        arms: The number of arms.
        horizon: The number of pulls per episode.
    """

    def __init__(self, arms: int = 5, horizon: int = 10):
        check_at_least(1, arms=arms, horizon=horizon)
        self.observations, self.actions, self.discrete = 0, arms, True
        self.horizon, self.noise = horizon, 1

    def task(self, seeds: Int[Tensor, " tasks"]) -> Float[Tensor, "tasks arms"]:
        return uniform(seeds, "arms", self.actions)

    def reset(self, task: Tensor, u: Float[Tensor, "tasks envs 1"]) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        return u[..., :0], u[..., :0]

    def step(self, task: Tensor, state: Tensor, action: Tensor, u: Float[Tensor, "tasks envs 1"]) -> Transition:
        return Transition(state, state, pull(task, action, u), torch.zeros_like(action, dtype=torch.bool))


class TwoArms(World):
    """Two arms, with the elapsed share of the horizon as the observation.

    Args:
        odds: The distribution of the success probabilities p1 and p2: `independent`, both uniform in [0, 1]; otherwise
            p1 = 1 - p2, so that one arm tells about the other, with one of them uniform in [0, 1] (`uniform`) or equal to
            0.1 (`easy`), 0.25 (`medium`) or 0.4 (`hard`).
        horizon: The number of pulls per episode.
    """

    def __init__(self, odds: str = "independent", horizon: int = 100):
        if odds not in ("independent", *CORRELATED):
            raise InputError(f"odds is {odds!r}: give one of independent, {', '.join(CORRELATED)}")
        check_at_least(1, horizon=horizon)
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

    def step(self, task: Tensor, state: Tensor, action: Tensor, u: Float[Tensor, "tasks envs 1"]) -> Transition:
        pulls = state + 1
        terminated = torch.zeros_like(action, dtype=torch.bool)
        return Transition(pulls, pulls / self.horizon, pull(task, action, u), terminated)


def pull(odds: Float[Tensor, "tasks arms"], arm: Int[Tensor, "tasks envs"], u: Float[Tensor, "tasks envs 1"]) -> Tensor:
    """Return the reward of pulling an arm, 1 or 0, [tasks, envs]."""
    return (u[..., 0] < odds.gather(1, arm)).to(u.dtype)
