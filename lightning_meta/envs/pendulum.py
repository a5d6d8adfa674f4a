"""A pendulum to swing up of which only the angle is observed: the velocity must be inferred from how the angle changes.

Nicolas Heess et al. Memory-based control with recurrent neural networks. 2015, arXiv:1512.04455, section 4. The dynamics are
those of gymnasium's Pendulum-v1.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_meta.core import Transition, World, check_at_least
from lightning_meta.envs.parameters import check_lengths, uniform_between


class Pendulum(World):
    """A pendulum whose length differs between tasks, with hidden velocity.

    The torque, at most 2, is too weak to lift it at once. The reward is -(angle^2 + 0.1 speed^2 + 0.001 torque^2), with
    angle 0 upright; an episode never ends before its horizon. The observation is the cosine and the sine of the angle.

    Args:
        lengths: The limits of the length of the pendulum in metres, which is uniform between them.
        velocities: Whether the observation also has the speed.
        horizon: The number of steps per episode.
    """

    def __init__(self, lengths: tuple[float, float] = (1.0, 1.0), velocities: bool = False, horizon: int = 200):
        check_lengths(lengths)
        check_at_least(1, horizon=horizon)
        self.lengths, self.velocities = lengths, velocities
        self.observations, self.actions, self.discrete = 2 + velocities, 1, False
        self.horizon, self.noise = horizon, 2

    def task(self, seeds: Int[Tensor, " tasks"]) -> Float[Tensor, " tasks"]:
        return uniform_between(self.lengths, seeds, "lengths")

    def reset(self, task: Tensor, u: Float[Tensor, "tasks envs 2"]) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        state = (2 * u - 1) * u.new_tensor([math.pi, 1])
        return state, self.observe(state)

    def step(self, task: Tensor, state: Tensor, action: Tensor, u: Tensor) -> Transition:  # noqa: ARG002
        angle, speed = state.unbind(-1)
        torque, length = 2 * action[..., 0].clamp(-1, 1), task.unsqueeze(1)
        upright = (angle + math.pi) % (2 * math.pi) - math.pi
        reward = -(upright.square() + 0.1 * speed.square() + 0.001 * torque.square())
        acceleration = 3 * 10 / (2 * length) * angle.sin() + 3 / length.square() * torque
        speed = (speed + 0.05 * acceleration).clamp(-8, 8)
        state = torch.stack([angle + 0.05 * speed, speed], -1)
        return Transition(state, self.observe(state), reward, torch.zeros_like(reward, dtype=torch.bool))

    def observe(self, state: Float[Tensor, "tasks envs 2"]) -> Float[Tensor, "tasks envs d"]:
        angle, speed = state.split(1, -1)
        return torch.cat([angle.cos(), angle.sin(), *[speed] * self.velocities], -1)
