"""The common part of MuJoCo worlds whose task is to run in a direction or at a speed.

Chelsea Finn, Pieter Abbeel and Sergey Levine. Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks. ICML 2017,
arXiv:1703.03400, section 5.3. Kate Rakelly et al. Efficient Off-Policy Meta-Reinforcement Learning via Probabilistic Context
Variables. ICML 2019, arXiv:1903.08254, section 6.1.

Bodies, starts and the 5 physics steps of 0.01 s per action are those of gymnasium's HalfCheetah-v5 and Ant-v5. Rewards are
those of the papers' code where the papers do not specify them.
"""

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lightning_meta.core import InputError, Transition, World, check_at_least, uniform
from lightning_meta.envs.mujoco import Physics
from lightning_meta.envs.tabular import normal


class Running(World):
    """A body that runs along a line.

    An action is the torque of each joint, of which `full_torque` is the strongest: larger ones are clipped, and the clipped
    ones cost.

    The state is MuJoCo's: time in seconds, positions and velocities, in float64. The observation is the state without the
    time and the position on the ground.

    Args:
        horizon: The number of steps per episode.
        full_torque: The action that stands for the strongest torque of a joint.
        control_cost: The cost of the sum of squared torques.
    """

    model: ClassVar[str]  # a file of gymnasium
    hidden: ClassVar[int]  # positions that are not observed

    def __init__(self, horizon: int, full_torque: float, control_cost: float):
        check_at_least(1, horizon=horizon)
        if full_torque <= 0 or control_cost < 0:
            raise InputError(
                f"full_torque {full_torque}, control_cost {control_cost}: give more than 0, and a cost of 0 or more"
            )
        self.physics = Physics(self.model)
        self.full_torque, self.control_cost = full_torque, control_cost
        self.observations = self.physics.positions + self.physics.velocities - self.hidden
        self.actions, self.discrete = self.physics.torques, False
        self.horizon, self.noise = horizon, 1

    def reset(self, task: Tensor, u: Float[Tensor, "tasks envs 1"]) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Start with positions within 0.1 of upright and velocities from N(0, 0.1^2). u selects one of 2^23 starts."""
        positions, velocities = self.physics.positions, self.physics.velocities
        noise = uniform((u.flatten() * 2**23).long(), "start", positions + velocities)
        noise = noise.double().reshape(*u.shape[:2], -1)
        offset, velocity = 0.2 * noise[..., :positions] - 0.1, 0.1 * normal(noise[..., positions:])
        state = self.physics.upright.to(noise) + torch.cat([torch.zeros_like(noise[..., :1]), offset, velocity], -1)
        return state, self.observe(state)

    def step(self, task: Tensor, state: Tensor, action: Tensor, u: Tensor) -> Transition:  # noqa: ARG002
        torque = (action.double() / self.full_torque).clamp(-1, 1)
        next_state = self.physics.advance(state, torque)
        elapsed = next_state[..., 0] - state[..., 0]
        elapsed = elapsed.where(elapsed > 0.9 * self.physics.seconds, torch.nan)  # less: MuJoCo diverged and restarted
        speed = (next_state[..., 1] - state[..., 1]) / elapsed
        fallen = self.has_fallen(next_state)
        cost = self.control_cost * torque.square().sum(-1)
        reward = self.task_reward(task.unsqueeze(1), speed, fallen) - cost
        return Transition(next_state, self.observe(next_state), reward, fallen)

    def observe(self, state: Float[Tensor, "tasks envs s"]) -> Float[Tensor, "tasks envs d"]:
        return state[..., 1 + self.hidden :]

    def has_fallen(self, state: Float[Tensor, "tasks envs s"]) -> Bool[Tensor, "tasks envs"]:
        """Return whether the state ends the episode. By default none does."""
        return torch.zeros_like(state[..., 0], dtype=torch.bool)

    @abstractmethod
    def task_reward(
        self, task: Tensor, speed: Float[Tensor, "tasks envs"], fallen: Bool[Tensor, "tasks envs"]
    ) -> Tensor:
        """Return the reward before the cost of torques, given the mean speed along x over the action in m/s."""

    @abstractmethod
    def describe(self, task: Tensor) -> list[str]:
        """Return a few words about each task."""


def direction(seeds: Int[Tensor, " tasks"]) -> Float[Tensor, " tasks"]:
    """Return 1, forward, for even seeds and -1, backward, for odd ones."""
    return 1.0 - 2.0 * (seeds % 2)


def describe_direction(direction: Float[Tensor, " tasks"]) -> list[str]:
    return ["forward" if sign > 0 else "backward" for sign in direction.tolist()]
