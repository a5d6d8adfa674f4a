"""Networks of agents that have several, and how one learns from another or follows it."""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call


def layers(*sizes: int) -> nn.Sequential:
    """Linear layers of these sizes with a ReLU between two, over the last axis."""
    parts: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        parts += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def held(network: nn.Module, *inputs: Tensor) -> Float[Tensor, "..."]:
    """What a network says, its weights taken as constants: the gradient goes to the inputs alone."""
    return functional_call(network, {name: w.detach() for name, w in network.named_parameters()}, inputs)


@torch.no_grad()
def follow(target: nn.Module, network: nn.Module, rate: float) -> None:
    """theta' <- (1 - rate) theta' + rate theta, of a target network."""
    for slow, w in zip(target.parameters(), network.parameters(), strict=True):
        slow.lerp_(w, rate)
