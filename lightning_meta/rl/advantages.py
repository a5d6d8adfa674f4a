"""How much better an action went than was to be expected: a linear baseline fitted to each task, and advantages over it.

The baseline: Yan Duan, Xi Chen, Rein Houthooft, John Schulman and Pieter Abbeel. Benchmarking Deep Reinforcement Learning
for Continuous Control. ICML 2016, arXiv:1604.06778.
The advantages: John Schulman, Philipp Moritz, Sergey Levine, Michael Jordan and Pieter Abbeel. High-Dimensional Continuous
Control Using Generalized Advantage Estimation. ICLR 2016, arXiv:1506.02438.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from lightning_meta.core import Trajectories

RIDGE = 1.0  # of one episode; of n it is an n-th. Features have length 1
LEAST = (
    1e-5  # standard deviation of advantages, as a share of the rewards to come, below which they are rounding errors
)


def advantages(lived: Trajectories, discount: float, trace: float, baseline: bool) -> Float[Tensor, "tasks envs time"]:
    """Of the one episode in each env, by generalised advantage estimation with lambda = `trace`; 0 where not valid.

    Where an episode was cut off nothing is added for what would have come: the horizon is part of the task, and the
    baseline knows the time. It is what would come if every step paid the task's mean, whatever that is, and what a linear
    function foretells of the rest. Without `baseline` the advantage is the sum of discounted rewards from there on (trace 1).
    """
    reward = lived.reward.double()
    value = torch.zeros_like(reward)
    if baseline:
        to_go = discounted_sums(reward * lived.valid, discount)
        mean = by_task(reward, lived.valid).unsqueeze(1)  # of a step, over all that any episode of the task still has
        steady = (mean * discounted_sums(lived.valid.any(1).double(), discount)).unsqueeze(1) * lived.valid
        value = steady + linear_baseline(lived.seen.observation, to_go - steady, lived.valid)
    return generalised(reward, value, lived.valid, discount, trace).to(lived.reward.dtype)


def generalised(
    reward: Float[Tensor, "*batch time"],
    value: Float[Tensor, "*batch time"],
    valid: Shaped[Tensor, "*batch time"],
    discount: float,
    trace: float,
) -> Float[Tensor, "*batch time"]:
    """Generalised advantage estimates: A_t = delta_t + gamma lambda A_(t+1), delta_t = r_t + gamma V_(t+1) - V_t.

    `discount` is gamma, `trace` lambda. Nothing follows the last valid step, and all is 0 there. An episode's end before
    does not cut them: what an agent learns of its task in one episode is worth something in the next.
    """
    value = value * valid
    surprise = reward * valid + discount * F.pad(value[..., 1:], (0, 1)) - value
    return discounted_sums(surprise, discount * trace)


def discounted_sums(x: Float[Tensor, "*batch time"], discount: float) -> Float[Tensor, "*batch time"]:
    """x_t + discount x_(t+1) + discount^2 x_(t+2) + ..."""
    sums = [x[..., -1]]
    for step in reversed(x[..., :-1].unbind(-1)):
        sums.append(step + discount * sums[-1])
    return torch.stack(sums[::-1], -1)


def linear_baseline(
    observation: Float[Tensor, "tasks envs time d"],
    to_go: Float[Tensor, "tasks envs time"],
    valid: Bool[Tensor, "tasks envs time"],
) -> Float[Tensor, "tasks envs time"]:
    """What a linear function of the observation, its square and the time, fitted by ridge regression to each task's own
    valid steps, says of the rewards to come; 0 where not valid. Features are scaled to length 1, so that the ridge weighs the
    same in any units and for any horizon. It falls with the number of episodes: with few, which features as many as steps
    would fit exactly, little is believed of them, and nothing is left to learn from where all is."""
    x = (features(observation).double() * valid.unsqueeze(-1)).flatten(1, 2)  # [tasks, envs * time, features]
    x = F.normalize(x, dim=1)
    y = to_go.double().flatten(1).unsqueeze(-1)
    ridge = RIDGE / to_go.shape[1] * torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    weights = torch.linalg.solve(x.mT @ x + ridge, x.mT @ y)
    return (x @ weights).reshape(to_go.shape).to(to_go.dtype)


def features(observation: Float[Tensor, "tasks envs time d"]) -> Float[Tensor, "tasks envs time features"]:
    """o, o^2, t, t^2, t^3, 1, with observations clipped to [-10, 10] and t in hundreds of steps."""
    o = observation.clamp(-10, 10)
    t = (torch.arange(o.shape[2], device=o.device).to(o) / 100).reshape(-1, 1).expand(*o.shape[:3], 1)
    return torch.cat([o, o**2, t, t**2, t**3, torch.ones_like(t)], -1)


def standardised_by_task(
    x: Float[Tensor, "tasks envs time"],
    valid: Bool[Tensor, "tasks envs time"],
    to_go: Float[Tensor, "tasks envs time"],
) -> Float[Tensor, "tasks envs time"]:
    """x with mean 0 and variance 1 over the valid steps of each task; 0 elsewhere. What varies by less than `LEAST` of the
    rewards to come is not magnified."""
    centred = (x - by_task(x, valid).reshape(-1, 1, 1)) * valid
    deviation, least = (by_task(part.square(), valid).sqrt() for part in (centred, to_go))
    return centred / torch.maximum(deviation, LEAST * least).clamp(min=1e-30).reshape(-1, 1, 1)


def by_task(x: Float[Tensor, "tasks envs time"], valid: Bool[Tensor, "tasks envs time"]) -> Float[Tensor, " tasks"]:
    """The mean over the valid steps of each task."""
    return (x * valid).sum((1, 2)) / valid.sum((1, 2))
