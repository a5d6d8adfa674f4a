"""What a policy by gradient is made of: a network from observations to distributions of actions, and phi as its weights."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Normal, kl_divergence
from torch.func import functional_call

from lightning_meta.core import InputError, Policy, Seen
from lightning_meta.nn import MLP
from lightning_meta.nn.inner_loop import Weights, over_tasks


class Actor(nn.Module):
    """From observations [n, d] to what names a distribution of actions: logits [n, actions] where they are `discrete`,
    otherwise means and logarithms of standard deviations, [n, 2 actions], the latter the same everywhere.

    A multi-layer perceptron of tanh layers, `hidden` wide. `std` is what the standard deviations start at. Where there is
    nothing to observe, the network sees a 1.
    """

    def __init__(self, observations: int, actions: int, discrete: bool, hidden: Sequence[int], std: float):
        super().__init__()
        if min(hidden, default=1) < 1 or std <= 0:
            raise InputError(f"hidden is {list(hidden)} and std {std}; all must be positive")
        sizes = [max(observations, 1), *hidden]
        self.body = MLP(sizes, "tanh") if hidden else nn.Identity()
        self.head = nn.Linear(sizes[-1], actions)
        self.log_std = None if discrete else nn.Parameter(torch.full((actions,), math.log(std)))

    def forward(self, observation: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        seen = observation.to(self.head.weight.dtype)
        seen = seen if seen.shape[-1] else seen.new_ones(len(seen), 1)
        score = self.head(self.body(seen))
        return score if self.log_std is None else torch.cat([score, self.log_std.expand_as(score)], -1)

    def distribution(self, names: Float[Tensor, "tasks *n k"]) -> Distribution:
        """What the network's outputs stand for. Not validated: a rollout says in our own words where they are no numbers."""
        if self.log_std is None:
            return Categorical(logits=names, validate_args=False)
        mean, log_std = names.chunk(2, -1)
        return Normal(mean, log_std.exp(), validate_args=False)


@dataclass(frozen=True, eq=False)
class FastPolicy(Policy):
    """phi: weights of an actor, one set a task, each [tasks, *its shape], and how many `steps` led there."""

    actor: Actor
    weights: Weights
    steps: int = 0

    def act(self, seen: Seen) -> tuple[Distribution, "FastPolicy"]:
        return self.at(seen.observation), self

    def at(self, observation: Float[Tensor, "tasks *n d"]) -> Distribution:
        """The distributions of actions at these observations of each task, in the weights' own precision."""
        flat = observation.flatten(1, -2)
        with torch.autocast(flat.device.type, enabled=False):
            names = over_tasks(
                lambda weights, x: functional_call(self.actor, weights, (x,)), self.weights, flat, vectorize=True
            )
        return self.actor.distribution(names.unflatten(1, observation.shape[1:-1]))


def divergence(old: Distribution, new: Distribution) -> Float[Tensor, "tasks *n"]:
    """KL(old || new) of whole actions, in nats."""
    found = kl_divergence(old, new)
    return found if isinstance(old, Categorical) else found.sum(-1)


def entropy(distribution: Distribution) -> Float[Tensor, "tasks *n"]:
    """Of whole actions, in nats."""
    found = distribution.entropy()
    return found if isinstance(distribution, Categorical) else found.sum(-1)
