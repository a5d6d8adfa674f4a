"""Objectives of policy gradients on trials [trials, time]: A2C and PPO.

Volodymyr Mnih et al. Asynchronous Methods for Deep Reinforcement Learning. ICML 2016, arXiv:1602.01783 (A2C is A3C with
synchronous workers).
John Schulman et al. Proximal Policy Optimization Algorithms. 2017, arXiv:1707.06347.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_meta.core import InputError
from lightning_meta.core.distributed import mean_over_processes

# The standard deviation of advantages, in units of the rewards to go, below which they are noise of the values.
MIN_STD = 1e-3

Trials = Float[Tensor, "trials time"]


def masked_mean(x: Trials, valid: Trials) -> Float[Tensor, ""]:
    """Return the mean of the valid steps.

    The average of this over processes is the mean over the steps of all, because each divides by the same count.
    """
    return (x * valid).sum() / mean_over_processes(valid.sum())


def standardise(x: Float[Tensor, "*shape"], valid: Float[Tensor, "*shape"], min_std: float) -> Float[Tensor, "*shape"]:
    """Scale x to mean 0 and variance 1 over the valid steps of all processes; 0 elsewhere.

    A smaller standard deviation than `min_std` is replaced by it, so that noise is not magnified.
    """
    count, total, square = mean_over_processes(torch.stack([valid.sum(), (x * valid).sum(), (x * x * valid).sum()]))
    mean = total / count
    return (x - mean) / (square / count - mean.square()).clamp(min=min_std**2).sqrt() * valid


class Objective(nn.Module, ABC):
    """The objective of a policy gradient, and how often a meta-batch of trials is used.

    Attributes:
        epochs: passes over the trials.
        minibatches: parts that the trials are split into in each pass.
    """

    epochs: int = 1
    minibatches: int = 1

    @abstractmethod
    def loss(self, log_prob: Trials, old_log_prob: Trials, advantage: Trials, valid: Trials) -> Float[Tensor, ""]:
        """Return minus the objective.

        Args:
            log_prob: the log probabilities of the actions under the current policy, in nats.
            old_log_prob: the same under the policy that took them.
            advantage: the advantages of the actions.
            valid: 1 for steps that count, otherwise 0.
        """


class A2C(Objective):
    """Advantage actor-critic: the policy gradient E[log pi(a) A], which uses each trial once."""

    def loss(self, log_prob: Trials, old_log_prob: Trials, advantage: Trials, valid: Trials) -> Float[Tensor, ""]:  # noqa: ARG002
        return -masked_mean(log_prob * advantage, valid)


class PPO(Objective):
    """Proximal policy optimisation: E[min(r A, clip(r, 1 - eps, 1 + eps) A)] with r = pi(a) / pi_old(a) (eq. 7).

    Advantages are scaled to mean 0 and variance 1.

    Args:
        clip: The largest deviation eps of the probability ratio from 1 that is rewarded.
        epochs: Passes over the trials of each meta-batch.
        minibatches: Parts that the trials are split into in each pass, with one outer step per part.
    """

    def __init__(self, clip: float = 0.2, epochs: int = 4, minibatches: int = 4):
        if not 0 < clip < 1 or min(epochs, minibatches) < 1:
            raise InputError(
                f"clip {clip}, epochs {epochs}, minibatches {minibatches}: give a clip between 0 and 1, and 1 or more of"
                " the others"
            )
        super().__init__()
        self.clip, self.epochs, self.minibatches = clip, epochs, minibatches

    def loss(self, log_prob: Trials, old_log_prob: Trials, advantage: Trials, valid: Trials) -> Float[Tensor, ""]:
        advantage = standardise(advantage, valid, MIN_STD)
        return -masked_mean(clipped_surrogate(log_prob - old_log_prob, advantage, self.clip), valid)


def clipped_surrogate(
    log_ratio: Float[Tensor, "*steps"], advantage: Float[Tensor, "*steps"], clip: float
) -> Float[Tensor, "*steps"]:
    """Return the clipped objective per step: no gain beyond a ratio of 1 + clip or, for a bad action, below 1 - clip."""
    ratio = log_ratio.exp()
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
