"""Small worlds whose best behaviour is known, and agents for them."""

import torch
from torch import Tensor

from lightning_meta.core import MDPs, Transition, World
from lightning_meta.envs import Bandits
from lightning_meta.nn.sequence import SequenceNetwork
from lightning_meta.rl import RL2


class Reaching(World):
    """A point on a line that actions push, with minus its distance to 0 as the reward.

    It starts anywhere, and an episode ends at 1 and beyond. The task is the length of a push.
    """

    def __init__(self, horizon: int = 4):
        self.observations, self.actions, self.discrete, self.horizon, self.noise = 1, 2, False, horizon, 1

    def task(self, seeds: Tensor) -> Tensor:
        return 0.1 + seeds.float() % 7 / 7

    def reset(self, task: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        return 2 * u - 1, 2 * u - 1

    def step(self, task: Tensor, state: Tensor, action: Tensor, u: Tensor) -> Transition:  # noqa: ARG002
        state = state + task[:, None, None] * action.sum(-1, keepdim=True)
        return Transition(state, state, -state[..., 0].abs(), state[..., 0] > 1)


def mdps(world: World, *seeds: int) -> MDPs:
    return MDPs(world, torch.tensor(seeds), torch.tensor(seeds))


def bandit_agent(sequence: SequenceNetwork, arms: int = 3, **options: object) -> RL2:
    """Build an agent that takes rewards as they are by default."""
    options = {"standardise_rewards": False, **options}
    return RL2(sequence, observations=0, actions=arms, discrete=True, **options)  # type: ignore[arg-type]


class Paying(Bandits):
    """Bandits whose rewards are multiplied."""

    def __init__(self, factor: float):
        super().__init__(arms=3, horizon=5)
        self.factor = factor

    def step(self, task: Tensor, state: Tensor, action: Tensor, u: Tensor) -> Transition:
        moved = super().step(task, state, action, u)
        return moved._replace(reward=self.factor * moved.reward)
