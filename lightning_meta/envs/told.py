"""A world that tells the task: what an agent gets in it is what knowing the task is worth."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_meta.core import Moved, Trajectories, World


class Told(World):
    """`world`, but for its observations, behind which stands the task, as numbers in a row. An agent trained in it without
    adapting is the oracle that adaptation is measured by."""

    def __init__(self, world: World):
        self.world = world
        self.observations = world.observations + numbers(world.task(torch.zeros(1, dtype=torch.long))).shape[1]
        self.actions, self.discrete = world.actions, world.discrete
        self.horizon, self.noise, self.tasks = world.horizon, world.noise, world.tasks

    def task(self, seeds: Tensor) -> Any:
        return self.world.task(seeds)

    def reset(self, task: Any, u: Tensor) -> tuple[Tensor, Tensor]:
        state, observation = self.world.reset(task, u)
        return state, told(task, observation)

    def again(self, task: Any, u: Tensor) -> tuple[Tensor, Tensor]:
        state, observation = self.world.again(task, u)
        return state, told(task, observation)

    def step(self, task: Any, state: Tensor, action: Tensor, u: Tensor) -> Moved:
        moved = self.world.step(task, state, action, u)
        return moved._replace(observation=told(task, moved.observation))

    def dense_reward(self, task: Any, lived: Trajectories) -> Float[Tensor, "tasks envs time"]:
        own = slice(self.world.observations)
        seen = lived.seen._replace(observation=lived.seen.observation[..., own])
        return self.world.dense_reward(
            task, lived._replace(seen=seen, next_observation=lived.next_observation[..., own])
        )


def told(task: Any, observation: Float[Tensor, "tasks envs d"]) -> Float[Tensor, "tasks envs more"]:
    each = numbers(task).to(observation).unsqueeze(1)
    return torch.cat([observation, each.expand(-1, observation.shape[1], -1)], -1)


def numbers(task: Any) -> Float[Tensor, "tasks n"]:
    """All that differs between tasks."""
    parts = task if isinstance(task, tuple) else (task,)
    return torch.cat([part.reshape(len(part), -1).to(torch.get_default_dtype()) for part in parts], 1)
