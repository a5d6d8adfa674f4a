"""The values that are recorded when an agent acts in a decision process.

Axis names: `tasks` (the meta-batch), `envs` (parallel copies of the process of a task), `time` (steps), `d` (numbers in an
observation). docs/glossary.md defines episode, trial, rollout, trajectory and transition.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor


class TimeStep(NamedTuple):
    """The input of a policy at one step. In a Trajectory every tensor has a time axis after envs.

    At the first step of a trial the previous action, reward and done are 0.

    Attributes:
        observation: the current observation, [tasks, envs, d].
        previous_action: the action of the step before, [tasks, envs, actions], one-hot if actions are discrete.
        previous_reward: the reward of that action, [tasks, envs].
        previous_done: 1 if that action ended an episode, otherwise 0, [tasks, envs].
    """

    observation: Float[Tensor, "tasks envs *time d"]
    previous_action: Float[Tensor, "tasks envs *time actions"]
    previous_reward: Float[Tensor, "tasks envs *time"]
    previous_done: Float[Tensor, "tasks envs *time"]

    def concatenated(self) -> Float[Tensor, "tasks envs *time width"]:
        """Return all four parts along the last axis, which is d + actions + 2 wide."""
        parts = self.observation, self.previous_action, self.previous_reward.unsqueeze(-1)
        return torch.cat([*parts, self.previous_done.unsqueeze(-1)], -1)


class Transition(NamedTuple):
    """The result of one step of a world.

    Attributes:
        state: the next state, [tasks, envs, s].
        observation: the observation of the next state, [tasks, envs, d].
        reward: the reward of the action, [tasks, envs].
        terminated: True if the action ended the episode, [tasks, envs].
    """

    state: Shaped[Tensor, "tasks envs s"]
    observation: Float[Tensor, "tasks envs d"]
    reward: Float[Tensor, "tasks envs"]
    terminated: Bool[Tensor, "tasks envs"]


class Trajectory(NamedTuple):
    """The record of a rollout. Every tensor is [tasks, envs, time, ...].

    Attributes:
        time_steps: the inputs of the policy.
        action: the actions that were taken.
        log_prob: the log probability of each action when it was sampled, in nats.
        reward: the reward of each action.
        next_observation: the observation after each action, before a new episode begins.
        terminated: True if the process ended the episode at this step.
        truncated: True if the horizon of the world cut the episode off at this step.
        valid: False after the last episode of an env, where nothing must be learned from.
    """

    time_steps: TimeStep
    action: Shaped[Tensor, "tasks envs time *actions"]
    log_prob: Float[Tensor, "tasks envs time"]
    reward: Float[Tensor, "tasks envs time"]
    next_observation: Float[Tensor, "tasks envs time d"]
    terminated: Bool[Tensor, "tasks envs time"]
    truncated: Bool[Tensor, "tasks envs time"]
    valid: Bool[Tensor, "tasks envs time"]

    def returns(self, episodes: int = 1) -> Float[Tensor, "tasks envs episodes"]:
        """Return the sum of rewards of each episode."""
        done = (self.terminated | self.truncated).long()
        number = (done.cumsum(-1) - done).clamp(max=episodes - 1)
        total = self.reward.new_zeros(*self.reward.shape[:2], episodes)
        return total.scatter_add(-1, number, self.reward * self.valid)


def stack_steps(steps: list[Trajectory]) -> Trajectory:
    """Stack the records of single steps along a new time axis."""
    time_steps, *rest = zip(*steps, strict=True)
    return Trajectory(
        TimeStep(*(torch.stack(part, 2) for part in zip(*time_steps, strict=True))),
        *(torch.stack(part, 2) for part in rest),
    )
