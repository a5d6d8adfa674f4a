"""A pendulum to swing up and a pole to balance on a cart, of which only places and angles are seen: velocities must be
remembered from how these change, and what differs between tasks from how they answer to actions.

Nicolas Heess et al. Memory-based control with recurrent neural networks. 2015, arXiv:1512.04455, section 4. The dynamics are
those of gymnasium's classic control (Pendulum-v1, CartPole-v1).
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_meta.core import InputError, Moved, World, uniform
from lightning_meta.envs.arguments import at_least_one


class Pendulum(World):
    """The torque, at most 2, is too weak to lift it at once. The reward is minus (angle^2 + 0.1 speed^2 + 0.001 torque^2), the
    angle being 0 upright; an episode never ends before its horizon. The observation is the cosine and the sine of the
    angle, and the speed if `velocities`.

    lengths: the pendulum's, in metres, is uniform between these two in each task.
    """

    def __init__(self, lengths: tuple[float, float] = (1.0, 1.0), velocities: bool = False, horizon: int = 200):
        check(lengths)
        at_least_one(horizon=horizon)
        self.lengths, self.velocities = lengths, velocities
        self.observations, self.actions, self.discrete = 2 + velocities, 1, False
        self.horizon, self.noise = horizon, 2

    def task(self, seeds: Int[Tensor, " tasks"]) -> Float[Tensor, " tasks"]:
        return between(self.lengths, seeds)

    def reset(self, task: Tensor, u: Float[Tensor, "tasks envs 2"]) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        state = (2 * u - 1) * u.new_tensor([math.pi, 1])
        return state, self.seen(state)

    def step(self, task: Tensor, state: Tensor, action: Tensor, u: Tensor) -> Moved:  # noqa: ARG002
        angle, speed = state.unbind(-1)
        torque, length = 2 * action[..., 0].clamp(-1, 1), task.unsqueeze(1)
        upright = (angle + math.pi) % (2 * math.pi) - math.pi
        reward = -(upright.square() + 0.1 * speed.square() + 0.001 * torque.square())
        gained = 3 * 10 / (2 * length) * angle.sin() + 3 / length.square() * torque
        speed = (speed + 0.05 * gained).clamp(-8, 8)
        state = torch.stack([angle + 0.05 * speed, speed], -1)
        return Moved(state, self.seen(state), reward, torch.zeros_like(reward, dtype=torch.bool))

    def seen(self, state: Float[Tensor, "tasks envs 2"]) -> Float[Tensor, "tasks envs d"]:
        angle, speed = state.split(1, -1)
        return torch.cat([angle.cos(), angle.sin(), *[speed] * self.velocities], -1)


class CartPole(World):
    """Each step pays 1; an episode ends where the pole leans by more than 12 degrees or the cart is 2.4 m off. The
    observation is the cart's place and the pole's angle, each followed by its velocity if `velocities`.

    discrete: push with 10 N to the left or to the right; otherwise with any force between. lengths: half the pole's, in
    metres, is uniform between these two in each task.
    """

    def __init__(
        self,
        lengths: tuple[float, float] = (0.25, 1.0),
        velocities: bool = False,
        discrete: bool = True,
        horizon: int = 500,
    ):
        check(lengths)
        at_least_one(horizon=horizon)
        self.lengths, self.velocities = lengths, velocities
        self.observations, self.actions, self.discrete = 2 + 2 * velocities, 1 + discrete, discrete
        self.horizon, self.noise = horizon, 4

    def task(self, seeds: Int[Tensor, " tasks"]) -> Float[Tensor, " tasks"]:
        return between(self.lengths, seeds)

    def reset(self, task: Tensor, u: Float[Tensor, "tasks envs 4"]) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        state = 0.1 * u - 0.05
        return state, self.seen(state)

    def step(self, task: Tensor, state: Tensor, action: Tensor, u: Tensor) -> Moved:  # noqa: ARG002
        place, velocity, angle, turning = state.unbind(-1)
        force = 10 * (2 * action - 1 if self.discrete else action[..., 0].clamp(-1, 1))
        cart, pole, length = 1.0, 0.1, task.unsqueeze(1)
        total = cart + pole
        pushed = (force + pole * length * turning.square() * angle.sin()) / total
        gained = (9.8 * angle.sin() - angle.cos() * pushed) / (length * (4 / 3 - pole * angle.cos().square() / total))
        moved = pushed - pole * length * gained * angle.cos() / total
        state = state + 0.02 * torch.stack([velocity, moved, turning, gained], -1)
        fallen = (state[..., 0].abs() > 2.4) | (state[..., 2].abs() > 12 * math.pi / 180)
        return Moved(state, self.seen(state), torch.ones_like(place), fallen)

    def seen(self, state: Float[Tensor, "tasks envs 4"]) -> Float[Tensor, "tasks envs d"]:
        return state if self.velocities else state[..., ::2]


def between(limits: tuple[float, float], seeds: Int[Tensor, " tasks"]) -> Float[Tensor, " tasks"]:
    return limits[0] + (limits[1] - limits[0]) * uniform(seeds, "lengths")


def check(lengths: tuple[float, float]) -> None:
    if not 0 < lengths[0] <= lengths[1]:
        raise InputError(f"lengths {lengths}: give two numbers above 0, the smaller first")
