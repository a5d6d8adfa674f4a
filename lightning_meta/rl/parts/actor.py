"""Policies of policy gradient methods: a network from observations to distributions of actions, and phi as its weights."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Normal, kl_divergence
from torch.func import functional_call

from lightning_meta.core import InputError, Policy, TimeStep
from lightning_meta.nn import MLP
from lightning_meta.nn.inner_loop import Weights, over_tasks


class Actor(nn.Module):
    """A multi-layer perceptron of tanh layers from observations [n, d] to parameters of a distribution of actions.

    The parameters are logits [n, actions] if actions are discrete, otherwise means and logarithms of standard deviations
    [n, 2 actions]; the latter do not depend on the observation. Without observations the network is given a 1.

    Args:
        observations: Numbers in an observation.
        actions: The number of discrete actions, or of numbers in a continuous action.
        discrete: Whether actions are discrete.
        hidden: The widths of the hidden layers.
        std: The initial standard deviation of continuous actions.
    """

    def __init__(self, observations: int, actions: int, discrete: bool, hidden: Sequence[int], std: float):
        super().__init__()
        if min(hidden, default=1) < 1 or std <= 0:
            raise InputError(f"hidden is {list(hidden)} and std {std}: all must be positive")
        sizes = [max(observations, 1), *hidden]
        self.body = MLP(sizes, "tanh") if hidden else nn.Identity()
        self.head = nn.Linear(sizes[-1], actions)
        self.log_std = None if discrete else nn.Parameter(torch.full((actions,), math.log(std)))

    def forward(self, observation: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        x = observation.to(self.head.weight.dtype)
        x = x if x.shape[-1] else x.new_ones(len(x), 1)
        output = self.head(self.body(x))
        return output if self.log_std is None else torch.cat([output, self.log_std.expand_as(output)], -1)

    def distribution(self, parameters: Float[Tensor, "tasks *n k"]) -> Distribution:
        """Return the distribution with these parameters.

        It is not validated: a rollout reports values that are not finite in a clearer message.
        """
        if self.log_std is None:
            return Categorical(logits=parameters, validate_args=False)
        mean, log_std = parameters.chunk(2, -1)
        return Normal(mean, log_std.exp(), validate_args=False)


@dataclass(frozen=True, eq=False)
class FastPolicy(Policy):
    """phi: weights of an actor, one set per task.

    Attributes:
        actor: the network.
        weights: its weights by name, each [tasks, *its shape].
        steps: the number of inner steps that led to these weights.
    """

    actor: Actor
    weights: Weights
    steps: int = 0

    def act(self, time_step: TimeStep) -> tuple[Distribution, "FastPolicy"]:
        return self.at(time_step.observation), self

    def at(self, observation: Float[Tensor, "tasks *n d"]) -> Distribution:
        """Return the distributions of actions at observations of each task, in the precision of the weights."""
        flat = observation.flatten(1, -2)
        with torch.autocast(flat.device.type, enabled=False):
            parameters = over_tasks(
                lambda weights, x: functional_call(self.actor, weights, (x,)), self.weights, flat, vectorize=True
            )
        return self.actor.distribution(parameters.unflatten(1, observation.shape[1:-1]))


def kl_of_actions(old: Distribution, new: Distribution) -> Float[Tensor, "tasks *n"]:
    """Return KL(old || new) of whole actions in nats."""
    kl = kl_divergence(old, new)
    return kl if isinstance(old, Categorical) else kl.sum(-1)


def entropy_of_actions(distribution: Distribution) -> Float[Tensor, "tasks *n"]:
    """Return the entropy of whole actions in nats."""
    entropy = distribution.entropy()
    return entropy if isinstance(distribution, Categorical) else entropy.sum(-1)
