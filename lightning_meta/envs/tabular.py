"""Random tabular MDPs: every state and action has next states and a mean reward of its own, all unknown.

Yan Duan et al. RL2: Fast Reinforcement Learning via Slow Reinforcement Learning. 2016, arXiv:1611.02779, section 3.2.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_meta.core import Moved, World, uniform
from lightning_meta.envs.arguments import at_least_one


class TabularMDPs(World):
    """Next states from a Dirichlet(1) prior; mean rewards from N(1, 1), paid with noise from N(0, 1). An episode starts in
    state 0 and lasts `horizon` steps. The observation is the state, one-hot.

    task: odds of the next state [tasks, states, actions, states], mean rewards [tasks, states, actions].
    """

    def __init__(self, states: int = 10, actions: int = 5, horizon: int = 10):
        at_least_one(states=states, actions=actions, horizon=horizon)
        self.observations, self.actions, self.discrete = states, actions, True
        self.horizon, self.noise = horizon, 2

    def task(self, seeds: Int[Tensor, " tasks"]) -> tuple[Tensor, Tensor]:
        s, a = self.observations, self.actions
        exponential = -uniform(seeds, "next states", s, a, s).log()
        return exponential / exponential.sum(-1, keepdim=True), 1 + normal(uniform(seeds, "mean rewards", s, a))

    def reset(self, task: tuple[Tensor, Tensor], u: Float[Tensor, "tasks envs 2"]) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        return self.placed(torch.zeros_like(u[..., 0], dtype=torch.long), u)

    def step(
        self, task: tuple[Tensor, Tensor], state: Tensor, action: Tensor, u: Float[Tensor, "tasks envs 2"]
    ) -> Moved:
        odds, means = task
        row = state[..., 0] * self.actions + action
        reward = means.flatten(1).gather(1, row) + normal(u[..., 1])
        chances = odds.flatten(1, 2).gather(1, row.unsqueeze(-1).expand(-1, -1, self.observations))
        behind = (chances.cumsum(-1) < u[..., :1]).sum(-1).clamp(max=self.observations - 1)
        return Moved(*self.placed(behind, u), reward, torch.zeros_like(action, dtype=torch.bool))

    def placed(self, at: Int[Tensor, "tasks envs"], like: Tensor) -> tuple[Tensor, Tensor]:
        seen = like.new_zeros(*at.shape, self.observations)
        return at.unsqueeze(-1), seen.scatter_(-1, at.unsqueeze(-1), 1)


def normal(u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Standard normal numbers, from uniform ones."""
    return torch.special.ndtri(u)
