"""A point that walks in the plane towards a goal it cannot observe.

Chelsea Finn, Pieter Abbeel and Sergey Levine. Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks. ICML 2017,
arXiv:1703.03400, section 5.3. Kate Rakelly et al. Efficient Off-Policy Meta-Reinforcement Learning via Probabilistic Context
Variables. ICML 2019, arXiv:1903.08254, section 6.3 (sparse rewards). Details are those of the authors' code.
"""

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_meta.core import InputError, Trajectory, Transition, World, check_at_least, uniform

PACE = 0.1  # the largest move per step along an axis


class Navigation(World):
    """The 2-D navigation of MAML, with goals uniform in [-0.5, 0.5]^2.

    An episode starts at the origin and ends within 0.01 of the goal along both axes. The reward is minus the distance to the
    goal (the paper writes its square; its code and its figures have the distance). The observation is the position.

    Args:
        horizon: The largest number of steps per episode.
    """

    def __init__(self, horizon: int = 100):
        check_at_least(1, horizon=horizon)
        self.observations, self.actions, self.discrete = 2, 2, False
        self.horizon, self.noise = horizon, 0

    def task(self, seeds: Int[Tensor, " tasks"]) -> Float[Tensor, "tasks 2"]:
        return uniform(seeds, "goals", 2) - 0.5

    def reset(self, task: Tensor, u: Float[Tensor, "tasks envs 0"]) -> tuple[Tensor, Tensor]:
        return at_origin(task, u)

    def step(self, task: Tensor, state: Tensor, action: Tensor, u: Tensor) -> Transition:  # noqa: ARG002
        state = move(state, action)
        offset = state - task.unsqueeze(1)
        return Transition(state, state, -offset.norm(dim=-1), (offset.abs() < 0.01).all(-1))


class PointRobot(World):
    """The point robot of PEARL, with goals on the upper half of the unit circle.

    An episode starts at the origin and never ends before its horizon. The observation is the position.

    Args:
        reward: The reward at a distance d from the goal: `dense` for -d, or `sparse` for 1 - d within 0.2 of the goal and 0
            elsewhere. With both, the dense reward that a critic may use in training is -d.
        horizon: The number of steps per episode.
    """

    def __init__(self, reward: str = "sparse", horizon: int = 20):
        if reward not in ("dense", "sparse"):
            raise InputError(f"reward is {reward!r}: give dense or sparse")
        check_at_least(1, horizon=horizon)
        self.reward = reward
        self.observations, self.actions, self.discrete = 2, 2, False
        self.horizon, self.noise = horizon, 0

    def task(self, seeds: Int[Tensor, " tasks"]) -> Float[Tensor, "tasks 2"]:
        angle = math.pi * uniform(seeds, "goals")
        return torch.stack([angle.cos(), angle.sin()], 1)

    def reset(self, task: Tensor, u: Float[Tensor, "tasks envs 0"]) -> tuple[Tensor, Tensor]:
        return at_origin(task, u)

    def step(self, task: Tensor, state: Tensor, action: Tensor, u: Tensor) -> Transition:  # noqa: ARG002
        state = move(state, action)
        distance = (state - task.unsqueeze(1)).norm(dim=-1)
        reward = -distance if self.reward == "dense" else torch.where(distance <= 0.2, 1 - distance, 0.0)
        return Transition(state, state, reward, torch.zeros_like(distance, dtype=torch.bool))

    def dense_reward(self, task: Any, trajectory: Trajectory) -> Float[Tensor, "tasks envs time"]:
        return -(trajectory.next_observation - task[:, None, None]).norm(dim=-1)


def move(
    position: Float[Tensor, "tasks envs 2"], action: Float[Tensor, "tasks envs 2"]
) -> Float[Tensor, "tasks envs 2"]:
    return position + PACE * action.clamp(-1, 1)


def at_origin(goal: Float[Tensor, "tasks 2"], u: Float[Tensor, "tasks envs 0"]) -> tuple[Tensor, Tensor]:
    position = goal.new_zeros(*u.shape[:2], 2)
    return position, position
