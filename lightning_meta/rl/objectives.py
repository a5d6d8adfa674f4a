"""What a policy gradient climbs, from trials [trials, time]: the objectives of A2C and PPO.

Volodymyr Mnih et al. Asynchronous Methods for Deep Reinforcement Learning. ICML 2016, arXiv:1602.01783 (A2C is A3C in step).
John Schulman et al. Proximal Policy Optimization Algorithms. 2017, arXiv:1707.06347.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_meta.core import InputError
from lightning_meta.rl.processes import mean_over_processes, standardised

LEAST = (
    1e-3  # standard deviation of advantages, in units of the rewards to come, below which they are noise of the values
)

Trials = Float[Tensor, "trials time"]


def mean(x: Trials, valid: Trials) -> Float[Tensor, ""]:
    """Of the valid steps. Averaged over processes it is the mean of those of all, for each divides by the same count."""
    return (x * valid).sum() / mean_over_processes(valid.sum())


class Objective(nn.Module, ABC):
    """How trials are used: in `epochs` passes over them, each of so many `minibatches`, down the gradient of `loss`."""

    epochs: int = 1
    minibatches: int = 1

    @abstractmethod
    def loss(self, log_prob: Trials, before: Trials, advantage: Trials, valid: Trials) -> Float[Tensor, ""]:
        """Minus the objective. log_prob: of the actions now; before: when they were chosen, both in nats."""


class A2C(Objective):
    """Advantage actor-critic, the policy gradient: E[log pi(a) A]. Each trial is used once."""

    def loss(self, log_prob: Trials, before: Trials, advantage: Trials, valid: Trials) -> Float[Tensor, ""]:  # noqa: ARG002
        return -mean(log_prob * advantage, valid)


class PPO(Objective):
    """Proximal policy optimisation, E[min(r A, clip(r, 1 - eps, 1 + eps) A)], r = pi(a) / pi_before(a) (eq. 7), on
    advantages of mean 0 and variance 1. `clip` is eps."""

    def __init__(self, clip: float = 0.2, epochs: int = 4, minibatches: int = 4):
        if not 0 < clip < 1 or min(epochs, minibatches) < 1:
            raise InputError(
                f"clip {clip}, epochs {epochs}, minibatches {minibatches}: give a clip between 0 and 1, and 1 or more of"
                " the others"
            )
        super().__init__()
        self.clip, self.epochs, self.minibatches = clip, epochs, minibatches

    def loss(self, log_prob: Trials, before: Trials, advantage: Trials, valid: Trials) -> Float[Tensor, ""]:
        return -mean(surrogate(log_prob - before, standardised(advantage, valid, LEAST), self.clip), valid)


def surrogate(
    log_ratio: Float[Tensor, "*steps"], advantage: Float[Tensor, "*steps"], clip: float
) -> Float[Tensor, "*steps"]:
    """The clipped objective of each step: no gain beyond a ratio of 1 + clip or, where the action was bad, 1 - clip."""
    ratio = log_ratio.exp()
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
