"""A world that reveals its task, in which an agent without adaptation is the oracle that adaptation is compared with."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_meta.core import Trajectory, Transition, World


class RevealTask(World):
    """Another world whose observations are followed by the parameters of the task.

    An agent trained in it without adapting is the oracle that adaptation is measured by.

    Args:
        world: The world whose tasks are revealed.
    """

    def __init__(self, world: World):
        self.world = world
        self.observations = world.observations + flatten(world.task(torch.zeros(1, dtype=torch.long))).shape[1]
        self.actions, self.discrete = world.actions, world.discrete
        self.horizon, self.noise, self.tasks = world.horizon, world.noise, world.tasks

    def task(self, seeds: Tensor) -> Any:
        return self.world.task(seeds)

    def reset(self, task: Any, u: Tensor) -> tuple[Tensor, Tensor]:
        state, observation = self.world.reset(task, u)
        return state, reveal(task, observation)

    def soft_reset(self, task: Any, u: Tensor) -> tuple[Tensor, Tensor]:
        state, observation = self.world.soft_reset(task, u)
        return state, reveal(task, observation)

    def step(self, task: Any, state: Tensor, action: Tensor, u: Tensor) -> Transition:
        transition = self.world.step(task, state, action, u)
        return transition._replace(observation=reveal(task, transition.observation))

    def dense_reward(self, task: Any, trajectory: Trajectory) -> Float[Tensor, "tasks envs time"]:
        own = slice(self.world.observations)
        time_steps = trajectory.time_steps._replace(observation=trajectory.time_steps.observation[..., own])
        next_observation = trajectory.next_observation[..., own]
        inner = trajectory._replace(time_steps=time_steps, next_observation=next_observation)
        return self.world.dense_reward(task, inner)


def reveal(task: Any, observation: Float[Tensor, "tasks envs d"]) -> Float[Tensor, "tasks envs more"]:
    """Append the parameters of each task to its observations."""
    parameters = flatten(task).to(observation).unsqueeze(1)
    return torch.cat([observation, parameters.expand(-1, observation.shape[1], -1)], -1)


def flatten(task: Any) -> Float[Tensor, "tasks n"]:
    """Return all parameters of each task in one row."""
    parts = task if isinstance(task, tuple) else (task,)
    return torch.cat([part.reshape(len(part), -1).to(torch.get_default_dtype()) for part in parts], 1)
