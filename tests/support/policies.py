"""Policies for tests of worlds."""

from dataclasses import dataclass

import torch
from torch.distributions import Categorical, Distribution, Normal

from lightning_meta.core import MDPs, Policy, TimeStep, World


@dataclass(frozen=True)
class Anything(Policy):
    """A policy that takes any action."""

    world: World

    def act(self, time_step: TimeStep) -> tuple[Distribution, Policy]:
        zeros = torch.zeros(*time_step.previous_reward.shape, self.world.actions)
        return Categorical(logits=zeros) if self.world.discrete else Normal(zeros, 1.0), self


def mdps(world: World, *seeds: int) -> MDPs:
    """Tasks of these seeds, whose random numbers are not those of their training."""
    return MDPs(world, torch.tensor(seeds), torch.tensor(seeds) + 100)
