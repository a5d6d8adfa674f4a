"""Random tabular MDPs: every state and action has unknown next states and an unknown mean reward.

Yan Duan et al. RL2: Fast Reinforcement Learning via Slow Reinforcement Learning. 2016, arXiv:1611.02779, section 3.2.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_meta.core import Transition, World, check_at_least, uniform


class TabularMDPs(World):
    """MDPs with transition probabilities from a Dirichlet(1) prior and mean rewards from N(1, 1).

    Rewards have noise from N(0, 1). An episode starts in state 0. The observation is the state, one-hot.

    The parameters of a task are the probabilities of the next state [tasks, states, actions, states] and the mean rewards
    [tasks, states, actions].

    Args:
        states: The number of states.
        actions: The number of actions.
        horizon: The number of steps per episode.
    """

    def __init__(self, states: int = 10, actions: int = 5, horizon: int = 10):
        check_at_least(1, states=states, actions=actions, horizon=horizon)
        self.observations, self.actions, self.discrete = states, actions, True
        self.horizon, self.noise = horizon, 2

    def task(self, seeds: Int[Tensor, " tasks"]) -> tuple[Tensor, Tensor]:
        s, a = self.observations, self.actions
        exponential = -uniform(seeds, "next states", s, a, s).log()
        return exponential / exponential.sum(-1, keepdim=True), 1 + normal(uniform(seeds, "mean rewards", s, a))

    def reset(self, task: tuple[Tensor, Tensor], u: Float[Tensor, "tasks envs 2"]) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        return self.in_state(torch.zeros_like(u[..., 0], dtype=torch.long), u)

    def step(
        self, task: tuple[Tensor, Tensor], state: Tensor, action: Tensor, u: Float[Tensor, "tasks envs 2"]
    ) -> Transition:
        probabilities, means = task
        row = state[..., 0] * self.actions + action
        reward = means.flatten(1).gather(1, row) + normal(u[..., 1])
        of_row = probabilities.flatten(1, 2).gather(1, row.unsqueeze(-1).expand(-1, -1, self.observations))
        next_state = (of_row.cumsum(-1) < u[..., :1]).sum(-1).clamp(max=self.observations - 1)
        return Transition(*self.in_state(next_state, u), reward, torch.zeros_like(action, dtype=torch.bool))

    def in_state(self, state: Int[Tensor, "tasks envs"], like: Tensor) -> tuple[Tensor, Tensor]:
        """Return a state [tasks, envs, 1] and its observation, in the dtype of `like`."""
        observation = like.new_zeros(*state.shape, self.observations)
        return state.unsqueeze(-1), observation.scatter_(-1, state.unsqueeze(-1), 1)


def normal(u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return standard normal numbers, computed from uniform ones."""
    return torch.special.ndtri(u)
