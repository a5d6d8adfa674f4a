"""Rewards of any offset and scale: read standardised, and counted from their mean, so that an agent learns the same of them.

Running statistics of what was paid, as Hado van Hasselt et al. Learning Values across Many Orders of Magnitude. NeurIPS 2016,
arXiv:1602.07714, keep of targets.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from lightning_meta.rl.advantages import discounted_sums
from lightning_meta.rl.processes import mean_over_processes

SLOWEST = 100  # meta-batches: a mean of all of them so far, and after so many a running one
WITHIN = 10.0  # standard deviations, beyond which a reward is read as that many


class Rewards(nn.Module):
    """The mean and variance of a step's reward, over the meta-batches of training and all processes. They are buffers, in
    the checkpoint, and stay as they are at test. Before the first meta-batch nothing is known, and no reward is read.

    standardise: False to read and to count rewards as they come, as if their mean were 0 and their variance 1.
    """

    mean: Tensor
    variance: Tensor
    met: Tensor

    def __init__(self, standardise: bool):
        super().__init__()
        self.standardise = standardise
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("variance", torch.zeros(()))
        self.register_buffer("met", torch.tensor(0))  # meta-batches

    @torch.no_grad()
    def with_these(
        self, reward: Float[Tensor, "*steps"], valid: Shaped[Tensor, "*steps"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """What mean and variance become with the valid rewards of one more meta-batch. In double precision, in which a
        mean of equal rewards is that reward, to the bit."""
        if not self.standardise:
            return self.mean, self.variance
        reward, valid = reward.double(), valid.double()
        count, total = mean_over_processes(torch.stack([valid.sum(), (reward * valid).sum()]))
        mean = total / count
        variance = mean_over_processes(((reward - mean).square() * valid).sum()) / count
        share = 1 / (self.met + 1).clamp(max=SLOWEST)
        apart = mean - self.mean
        merged = self.variance + share * (variance - self.variance + (1 - share) * apart.square())
        return (self.mean + share * apart).to(self.mean), merged.to(self.variance)

    def adopt(self, found: tuple[Float[Tensor, ""], Float[Tensor, ""]]) -> None:
        """Go on with what `with_these` found."""
        self.mean, self.variance = found
        self.met += 1

    def standardised(self, reward: Float[Tensor, "*steps"]) -> Float[Tensor, "*steps"]:
        """As an agent reads them: of mean 0 and variance 1, none of them beyond `WITHIN`."""
        if not self.standardise:
            return reward
        deviation = self.variance.sqrt().clamp(min=torch.finfo(self.variance.dtype).tiny)
        return ((reward - self.mean) / deviation).clamp(-WITHIN, WITHIN) * (self.met > 0)

    def read(self, seen: Float[Tensor, "trials time width"], begins: bool = True) -> Float[Tensor, "trials time width"]:
        """What is seen along trials, as `Seen.joined` has it, with standardised rewards. Where a trial `begins`, nothing was
        paid before the first step, and 0 is read."""
        if not self.standardise:
            return seen
        reward = self.standardised(seen[..., -2])
        if begins:
            reward = torch.cat([torch.zeros_like(reward[:, :1]), reward[:, 1:]], 1)
        return torch.cat([seen[..., :-2], reward.unsqueeze(-1), seen[..., -1:]], -1)


def counted(
    reward: Float[Tensor, "trials time"],
    valid: Float[Tensor, "trials time"],
    mean: Float[Tensor, ""],
    discount: float,
    steps: int,
) -> Float[Tensor, "trials time"]:
    """Rewards less their mean, 0 where not valid. A trial that ends before all its `steps` misses the rest, which pays it
    nothing and so minus the mean each: that is in the reward of its last step. So the discounted sums change by a function
    of the time alone, and what is the best policy does not."""
    to_come = discounted_sums(torch.ones_like(reward[0, :1]).expand(steps), discount) - 1  # behind each step
    last = valid - F.pad(valid[..., 1:], (0, 1))
    return (reward - mean) * valid - last * mean * to_come[: reward.shape[1]]


def counted_for_ever(
    reward: Float[Tensor, "*steps"], terminated: Float[Tensor, "*steps"], mean: Float[Tensor, ""], discount: float
) -> Float[Tensor, "*steps"]:
    """Rewards less their mean for a value without a horizon, which so becomes smaller by mean / (1 - discount) in every
    state; also in those behind a termination, where 0 is paid for ever. Without discounting rewards stay as they are."""
    if discount == 1:
        return reward
    return reward - mean * (1 + terminated * discount / (1 - discount))
