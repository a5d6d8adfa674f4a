"""Small agents for tests of what surrounds an agent."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution

from lightning_meta.core import InputError, MDPs, Policy, TimeStep, Trajectory, World, log_prob
from lightning_meta.rl import UpdateBased


@dataclass(frozen=True)
class Odds(Policy):
    """The same log odds [tasks, actions] at every step."""

    logits: Tensor

    def act(self, time_step: TimeStep) -> tuple[Distribution, Policy]:
        logits = self.logits.unsqueeze(1).expand(-1, time_step.previous_reward.shape[1], -1)
        return Categorical(logits=logits, validate_args=False), self


class Favourite(UpdateBased):
    """theta: the log odds of each action to begin with, and how much rewards count. phi: log odds, to which each update
    adds the rewards of the actions. It learns by the plain policy gradient of its last episode, with running statistics of its
    own: the mean return, and the number of meta-batches so far."""

    def __init__(
        self, observations: int, actions: int, discrete: bool, updates: int = 1, envs: int = 4, steps: int = 2
    ):
        super().__init__()
        self.start, self.weight = nn.Parameter(torch.zeros(actions)), nn.Parameter(torch.tensor(0.1))
        self.updates, self.envs, self.steps = updates, envs, steps
        self.observations, self.discrete = observations, discrete
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("met", torch.zeros((), dtype=torch.long))

    def prior(self, mdps: MDPs) -> Odds:
        return Odds(self.start.expand(len(mdps), -1))

    def update(self, policy: Policy, trajectory: Trajectory) -> Odds:
        assert isinstance(policy, Odds)
        paid = torch.zeros_like(policy.logits).scatter_add(
            1, trajectory.action.flatten(1), trajectory.reward.flatten(1)
        )
        return Odds(policy.logits + self.weight * paid)

    def learn(self, mdps: MDPs, outer_step: Callable[[Tensor], None]) -> dict[str, Tensor]:
        trial = [trajectory for trajectory, _ in self.trial(mdps)]
        policy = self.prior(mdps)
        for trajectory in trial:
            policy = self.update(policy, trajectory)
        last, _ = mdps.rollout(policy, self.envs, purpose="adapted")
        for _ in range(self.steps):
            policy = self.prior(mdps)
            for trajectory in trial:
                policy = self.update(policy, trajectory)
            distribution, _ = policy.act(last.time_steps)
            logits = distribution.logits.unsqueeze(2).expand(*last.action.shape, -1)
            likely = log_prob(Categorical(logits=logits, validate_args=False), last.action)
            outer_step(-(likely * (last.reward - self.mean / mdps.world.horizon)).sum(-1).mean())
        found = last.returns().mean()
        self.mean.lerp_(found, 0.1)
        self.met += 1
        steps = sum(one.valid.sum() for one in (*trial, last))
        return {"return": found, "steps": torch.as_tensor(steps).float(), "weight": self.weight.detach()}

    def check(self, world: World) -> None:
        if not world.discrete:
            raise InputError("Favourite chooses among actions, and those of this world are continuous")


class Continuous(Favourite):
    """Acts with two numbers, whatever the world."""

    def prior(self, mdps: MDPs) -> Odds:
        return Odds(self.start[:2].expand(len(mdps) + 1, -1))
