"""A point that walks in the plane towards a goal it cannot see.

Chelsea Finn, Pieter Abbeel and Sergey Levine. Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks. ICML 2017,
arXiv:1703.03400, section 5.3. Kate Rakelly et al. Efficient Off-Policy Meta-Reinforcement Learning via Probabilistic Context
Variables. ICML 2019, arXiv:1903.08254, section 6.3 (sparse rewards). Details are those of the authors' code.
"""

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_meta.core import InputError, Moved, Trajectories, World, uniform
from lightning_meta.envs.arguments import at_least_one

PACE = 0.1  # the most a step goes along an axis


class Navigation(World):
    """2-D navigation of MAML. Goals are uniform in [-0.5, 0.5]^2; an episode starts at the origin and ends within 0.01 of
    the goal along both axes. The reward is minus the distance to the goal (the paper writes its square; its code and its
    figures have the distance). The observation is where the point is."""

    def __init__(self, horizon: int = 100):
        at_least_one(horizon=horizon)
        self.observations, self.actions, self.discrete = 2, 2, False
        self.horizon, self.noise = horizon, 0

    def task(self, seeds: Int[Tensor, " tasks"]) -> Float[Tensor, "tasks 2"]:
        return uniform(seeds, "goals", 2) - 0.5

    def reset(self, task: Tensor, u: Float[Tensor, "tasks envs 0"]) -> tuple[Tensor, Tensor]:
        return at_origin(task, u)

    def step(self, task: Tensor, state: Tensor, action: Tensor, u: Tensor) -> Moved:  # noqa: ARG002
        state = walked(state, action)
        off = state - task.unsqueeze(1)
        return Moved(state, state, -off.norm(dim=-1), (off.abs() < 0.01).all(-1))


class PointRobot(World):
    """The point robot of PEARL. Goals lie on the upper half of the unit circle; an episode starts at the origin and never
    ends before its horizon. The observation is where the point is.

    reward: `dense`, minus the distance d to the goal; or `sparse`, 1 - d within 0.2 of the goal and 0 elsewhere, which is
    all that an agent sees. `dense_reward` is -d in both.
    """

    def __init__(self, reward: str = "sparse", horizon: int = 20):
        if reward not in ("dense", "sparse"):
            raise InputError(f"reward {reward!r}: give dense or sparse")
        at_least_one(horizon=horizon)
        self.reward = reward
        self.observations, self.actions, self.discrete = 2, 2, False
        self.horizon, self.noise = horizon, 0

    def task(self, seeds: Int[Tensor, " tasks"]) -> Float[Tensor, "tasks 2"]:
        angle = math.pi * uniform(seeds, "goals")
        return torch.stack([angle.cos(), angle.sin()], 1)

    def reset(self, task: Tensor, u: Float[Tensor, "tasks envs 0"]) -> tuple[Tensor, Tensor]:
        return at_origin(task, u)

    def step(self, task: Tensor, state: Tensor, action: Tensor, u: Tensor) -> Moved:  # noqa: ARG002
        state = walked(state, action)
        far = (state - task.unsqueeze(1)).norm(dim=-1)
        reward = -far if self.reward == "dense" else torch.where(far <= 0.2, 1 - far, 0.0)
        return Moved(state, state, reward, torch.zeros_like(far, dtype=torch.bool))

    def dense_reward(self, task: Any, lived: Trajectories) -> Float[Tensor, "tasks envs time"]:
        return -(lived.next_observation - task[:, None, None]).norm(dim=-1)


def walked(
    place: Float[Tensor, "tasks envs 2"], action: Float[Tensor, "tasks envs 2"]
) -> Float[Tensor, "tasks envs 2"]:
    return place + PACE * action.clamp(-1, 1)


def at_origin(goal: Float[Tensor, "tasks 2"], u: Float[Tensor, "tasks envs 0"]) -> tuple[Tensor, Tensor]:
    place = goal.new_zeros(*u.shape[:2], 2)
    return place, place
