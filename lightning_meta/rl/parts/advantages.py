"""Advantages of actions: generalised advantage estimation, and a linear baseline fitted to each task.

The baseline: Yan Duan, Xi Chen, Rein Houthooft, John Schulman and Pieter Abbeel. Benchmarking Deep Reinforcement Learning
for Continuous Control. ICML 2016, arXiv:1604.06778.
The advantages: John Schulman, Philipp Moritz, Sergey Levine, Michael Jordan and Pieter Abbeel. High-Dimensional Continuous
Control Using Generalized Advantage Estimation. ICLR 2016, arXiv:1506.02438.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from lightning_meta.core import Trajectory

RIDGE = 1.0  # for one episode; for n episodes an n-th of it. Features have length 1
# The standard deviation of advantages, as a share of the rewards to go, below which they are rounding errors.
MIN_STD_SHARE = 1e-5


def episode_advantages(
    trajectory: Trajectory, gamma: float, gae_lambda: float, baseline: bool
) -> Float[Tensor, "tasks envs time"]:
    """Return the advantages of trajectories of one episode per env; 0 where not valid.

    Nothing is added for the rewards after a truncation: the horizon is part of the task, and the baseline knows the time.

    Args:
        trajectory: one episode per env.
        gamma: the discount.
        gae_lambda: lambda of generalised advantage estimation.
        baseline: whether to subtract a baseline fitted to each task: the rewards to go if every step paid the mean reward
            of the task, whatever it is, plus a linear prediction of the rest. Without it, and with lambda 1, the advantage
            is the sum of discounted rewards to go.
    """
    reward = trajectory.reward.double()
    value = torch.zeros_like(reward)
    if baseline:
        to_go = discounted_sums(reward * trajectory.valid, gamma)
        mean = mean_per_task(reward, trajectory.valid).unsqueeze(1)  # per step of the task
        # Over all steps that any episode of the task still has.
        constant = (mean * discounted_sums(trajectory.valid.any(1).double(), gamma)).unsqueeze(1) * trajectory.valid
        observation = trajectory.time_steps.observation
        value = constant + linear_baseline(observation, to_go - constant, trajectory.valid)
    return generalised_advantages(reward, value, trajectory.valid, gamma, gae_lambda).to(trajectory.reward.dtype)


def generalised_advantages(
    reward: Float[Tensor, "*batch time"],
    value: Float[Tensor, "*batch time"],
    valid: Shaped[Tensor, "*batch time"],
    gamma: float,
    gae_lambda: float,
) -> Float[Tensor, "*batch time"]:
    """Return A_t = delta_t + gamma lambda A_(t+1) with delta_t = r_t + gamma V_(t+1) - V_t.

    Nothing follows the last valid step, and all is 0 after it. The end of an earlier episode does not cut the sums: what an
    agent learns of its task in one episode is worth something in the next.
    """
    value = value * valid
    td_error = reward * valid + gamma * F.pad(value[..., 1:], (0, 1)) - value
    return discounted_sums(td_error, gamma * gae_lambda)


def discounted_sums(x: Float[Tensor, "*batch time"], gamma: float) -> Float[Tensor, "*batch time"]:
    """Return x_t + gamma x_(t+1) + gamma^2 x_(t+2) + ..."""
    sums = [x[..., -1]]
    for step in reversed(x[..., :-1].unbind(-1)):
        sums.append(step + gamma * sums[-1])
    return torch.stack(sums[::-1], -1)


def linear_baseline(
    observation: Float[Tensor, "tasks envs time d"],
    to_go: Float[Tensor, "tasks envs time"],
    valid: Bool[Tensor, "tasks envs time"],
) -> Float[Tensor, "tasks envs time"]:
    """Predict the rewards to go by ridge regression on each task's own valid steps; 0 where not valid.

    The features are the observation, its square and the time. They are scaled to length 1, so that the ridge has the same
    weight in any units and for any horizon. The ridge falls with the number of episodes: with few, features as many as
    steps would fit exactly, and nothing would be left to learn from.
    """
    x = (features(observation).double() * valid.unsqueeze(-1)).flatten(1, 2)  # [tasks, envs * time, features]
    x = F.normalize(x, dim=1)
    y = to_go.double().flatten(1).unsqueeze(-1)
    ridge = RIDGE / to_go.shape[1] * torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    weights = torch.linalg.solve(x.mT @ x + ridge, x.mT @ y)
    return (x @ weights).reshape(to_go.shape).to(to_go.dtype)


def features(observation: Float[Tensor, "tasks envs time d"]) -> Float[Tensor, "tasks envs time features"]:
    """Return o, o^2, t, t^2, t^3, 1, with observations clipped to [-10, 10] and t in hundreds of steps."""
    o = observation.clamp(-10, 10)
    t = (torch.arange(o.shape[2], device=o.device).to(o) / 100).reshape(-1, 1).expand(*o.shape[:3], 1)
    return torch.cat([o, o**2, t, t**2, t**3, torch.ones_like(t)], -1)


def standardise_per_task(
    x: Float[Tensor, "tasks envs time"],
    valid: Bool[Tensor, "tasks envs time"],
    to_go: Float[Tensor, "tasks envs time"],
) -> Float[Tensor, "tasks envs time"]:
    """Scale x to mean 0 and variance 1 over the valid steps of each task; 0 elsewhere.

    Values that vary by less than `MIN_STD_SHARE` of the rewards to go are not magnified.
    """
    centred = (x - mean_per_task(x, valid).reshape(-1, 1, 1)) * valid
    std, scale = (mean_per_task(part.square(), valid).sqrt() for part in (centred, to_go))
    return centred / torch.maximum(std, MIN_STD_SHARE * scale).clamp(min=1e-30).reshape(-1, 1, 1)


def mean_per_task(
    x: Float[Tensor, "tasks envs time"], valid: Bool[Tensor, "tasks envs time"]
) -> Float[Tensor, " tasks"]:
    """Return the mean over the valid steps of each task."""
    return (x * valid).sum((1, 2)) / valid.sum((1, 2))
