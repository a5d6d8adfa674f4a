"""Networks of actor-critic agents, and how target networks follow them."""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call


def relu_mlp(*sizes: int) -> nn.Sequential:
    """Build linear layers of these sizes over the last axis, with a ReLU between any two."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def call_frozen(network: nn.Module, *inputs: Tensor) -> Float[Tensor, "..."]:
    """Call a network with its weights as constants, so that the gradient reaches only its inputs."""
    return functional_call(network, {name: w.detach() for name, w in network.named_parameters()}, inputs)


@torch.no_grad()
def soft_update(target: nn.Module, network: nn.Module, tau: float) -> None:
    """Update a target network: theta' <- (1 - tau) theta' + tau theta."""
    for target_weight, weight in zip(target.parameters(), network.parameters(), strict=True):
        target_weight.lerp_(weight, tau)
