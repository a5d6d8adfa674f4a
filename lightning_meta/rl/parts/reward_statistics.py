"""Rewards of any offset and scale, standardised for reading and centred for learning.

The running statistics of rewards are kept as those of targets are in Hado van Hasselt et al. Learning Values across Many
Orders of Magnitude. NeurIPS 2016, arXiv:1602.07714.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from lightning_meta.core.distributed import mean_over_processes
from lightning_meta.rl.parts.advantages import discounted_sums

WINDOW = 100  # meta-batches: the statistics are means over all so far, and running means after this number
LIMIT = 10.0  # the largest reward that is read, in standard deviations


class RewardStatistics(nn.Module):
    """The mean and variance of the reward per step, over the meta-batches of training and all processes.

    They are buffers, saved in the checkpoint, and stay constant at test. Before the first meta-batch, rewards are read as 0.

    Args:
        standardise: Whether to use the statistics. If not, rewards are read and counted as they are.
    """

    mean: Tensor
    variance: Tensor
    meta_batches: Tensor

    def __init__(self, standardise: bool):
        super().__init__()
        self.standardise = standardise
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("variance", torch.zeros(()))
        self.register_buffer("meta_batches", torch.tensor(0))  # seen so far

    @torch.no_grad()
    def including(
        self, reward: Float[Tensor, "*steps"], valid: Shaped[Tensor, "*steps"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Return the mean and variance with the valid rewards of one more meta-batch, without storing them.

        The computation is in double precision, in which a mean of equal rewards is that reward to the bit.
        """
        if not self.standardise:
            return self.mean, self.variance
        reward, valid = reward.double(), valid.double()
        count, total = mean_over_processes(torch.stack([valid.sum(), (reward * valid).sum()]))
        mean = total / count
        variance = mean_over_processes(((reward - mean).square() * valid).sum()) / count
        share = 1 / (self.meta_batches + 1).clamp(max=WINDOW)
        difference = mean - self.mean
        merged = self.variance + share * (variance - self.variance + (1 - share) * difference.square())
        return (self.mean + share * difference).to(self.mean), merged.to(self.variance)

    def store(self, statistics: tuple[Float[Tensor, ""], Float[Tensor, ""]]) -> None:
        """Store the mean and variance that `including` returned."""
        self.mean, self.variance = statistics
        self.meta_batches += 1

    def standardised(self, reward: Float[Tensor, "*steps"]) -> Float[Tensor, "*steps"]:
        """Return rewards with mean 0 and variance 1, clipped to `LIMIT` standard deviations."""
        if not self.standardise:
            return reward
        std = self.variance.sqrt().clamp(min=torch.finfo(self.variance.dtype).tiny)
        return ((reward - self.mean) / std).clamp(-LIMIT, LIMIT) * (self.meta_batches > 0)

    def read(
        self, inputs: Float[Tensor, "trials time width"], trial_start: bool = True
    ) -> Float[Tensor, "trials time width"]:
        """Standardise the rewards in the inputs of a policy, as `TimeStep.concatenated` returns them.

        At the start of a trial there is no reward before the first step, and 0 is read.
        """
        if not self.standardise:
            return inputs
        reward = self.standardised(inputs[..., -2])
        if trial_start:
            reward = torch.cat([torch.zeros_like(reward[:, :1]), reward[:, 1:]], 1)
        return torch.cat([inputs[..., :-2], reward.unsqueeze(-1), inputs[..., -1:]], -1)


def centred_rewards(
    reward: Float[Tensor, "trials time"],
    valid: Float[Tensor, "trials time"],
    mean: Float[Tensor, ""],
    gamma: float,
    steps: int,
) -> Float[Tensor, "trials time"]:
    """Subtract the mean from rewards; 0 where not valid.

    A trial that ends before all its `steps` receives nothing for the rest, which is minus the mean per step: that is
    added to the reward of its last step. So the discounted sums change by a function of time only, and the best policy
    stays the best.
    """
    to_go = discounted_sums(torch.ones_like(reward[0, :1]).expand(steps), gamma) - 1  # after each step
    last = valid - F.pad(valid[..., 1:], (0, 1))
    return (reward - mean) * valid - last * mean * to_go[: reward.shape[1]]


def centred_rewards_infinite_horizon(
    reward: Float[Tensor, "*steps"], terminated: Float[Tensor, "*steps"], mean: Float[Tensor, ""], gamma: float
) -> Float[Tensor, "*steps"]:
    """Subtract the mean from rewards for a value without a horizon.

    The value becomes smaller by mean / (1 - gamma) in every state, also in those after a termination, where the reward is 0
    for ever. With gamma 1 rewards stay as they are.
    """
    if gamma == 1:
        return reward
    return reward - mean * (1 + terminated * gamma / (1 - gamma))
