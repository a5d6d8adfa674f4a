"""A pole to balance on a cart of which only positions are observed: velocities must be inferred from how these change.

Nicolas Heess et al. Memory-based control with recurrent neural networks. 2015, arXiv:1512.04455, section 4. The dynamics are
those of gymnasium's CartPole-v1.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_meta.core import Transition, World, check_at_least
from lightning_meta.envs.parameters import check_lengths, uniform_between


class CartPole(World):
    """A cart-pole whose pole length differs between tasks, with hidden velocities.

    Each step has a reward of 1; an episode ends when the pole leans by more than 12 degrees or the cart is 2.4 m off the
    centre. The observation is the position of the cart and the angle of the pole.

    Args:
        lengths: The limits of half the length of the pole in metres, which is uniform between them.
        velocities: Whether each number of the observation is followed by its velocity.
        discrete: Whether the actions are a push of 10 N to the left or to the right; otherwise any force between.
        horizon: The number of steps per episode.
    """

    def __init__(
        self,
        lengths: tuple[float, float] = (0.25, 1.0),
        velocities: bool = False,
        discrete: bool = True,
        horizon: int = 500,
    ):
        check_lengths(lengths)
        check_at_least(1, horizon=horizon)
        self.lengths, self.velocities = lengths, velocities
        self.observations, self.actions, self.discrete = 2 + 2 * velocities, 1 + discrete, discrete
        self.horizon, self.noise = horizon, 4

    def task(self, seeds: Int[Tensor, " tasks"]) -> Float[Tensor, " tasks"]:
        return uniform_between(self.lengths, seeds, "lengths")

    def reset(self, task: Tensor, u: Float[Tensor, "tasks envs 4"]) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        state = 0.1 * u - 0.05
        return state, self.observe(state)

    def step(self, task: Tensor, state: Tensor, action: Tensor, u: Tensor) -> Transition:  # noqa: ARG002
        position, velocity, angle, angular_velocity = state.unbind(-1)
        force = 10 * (2 * action - 1 if self.discrete else action[..., 0].clamp(-1, 1))
        cart, pole, length = 1.0, 0.1, task.unsqueeze(1)
        total = cart + pole
        push = (force + pole * length * angular_velocity.square() * angle.sin()) / total
        inertia = length * (4 / 3 - pole * angle.cos().square() / total)
        angular_acceleration = (9.8 * angle.sin() - angle.cos() * push) / inertia
        acceleration = push - pole * length * angular_acceleration * angle.cos() / total
        change = torch.stack([velocity, acceleration, angular_velocity, angular_acceleration], -1)
        state = state + 0.02 * change
        fallen = (state[..., 0].abs() > 2.4) | (state[..., 2].abs() > 12 * math.pi / 180)
        return Transition(state, self.observe(state), torch.ones_like(position), fallen)

    def observe(self, state: Float[Tensor, "tasks envs 4"]) -> Float[Tensor, "tasks envs d"]:
        return state if self.velocities else state[..., ::2]
