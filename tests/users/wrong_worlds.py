"""Worlds with one fault each, of the kinds that users make."""

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_meta.core import Transition, World, uniform


class Faulty(World):
    """A point on a line that three actions push, with minus its distance to the place of the task as the reward.

    `fault` names the fault; "" is a correct world.
    """

    def __init__(self, fault: str = ""):
        self.observations, self.actions, self.discrete, self.horizon, self.noise = 2, 3, True, 4, 1
        self.fault, self.count = fault, 0
        self.generator, self.buffer = torch.Generator().manual_seed(0), torch.zeros(0)
        if fault.startswith("set "):
            name, value = fault.removeprefix("set ").split("=")
            setattr(
                self,
                name,
                {"None": None, "one": 1, "text": "3"}.get(value, value if value[-1].isalpha() else int(value)),
            )

    def task(self, seeds: Tensor) -> Any:
        place = uniform(seeds, "place")
        if self.fault == "seeded":
            torch.manual_seed(int(seeds[0]))
        return {
            "torch's chance": lambda: torch.rand(len(seeds)),
            "own generator": lambda: torch.rand(len(seeds), generator=self.generator),
            "too many tasks": lambda: torch.cat([place, place]),
            "no task": lambda: None,
            "neighbouring task": lambda: place - place.mean(),
        }.get(self.fault, lambda: place)()

    def reset(self, task: Any, u: Tensor) -> Any:  # noqa: ARG002
        if self.fault == "numpy's chance":
            np.random.rand()
        if self.fault == "one start":
            return u
        if self.fault == "u in place":
            u -= 0.5
        seen = torch.cat([u, u], -1)
        return (u.numpy(), seen) if self.fault == "state of numpy" else (u, seen)

    def soft_reset(self, task: Any, u: Tensor) -> Any:
        return (torch.cat([u, u], -1), torch.cat([u, u], -1)) if self.fault == "other width" else self.reset(task, u)

    def step(self, task: Any, state: Tensor, action: Tensor, u: Tensor) -> Any:
        if self.fault == "state in place":
            state += action.unsqueeze(-1)
        if self.fault == "task in place":
            task *= 0.5
        if self.fault == "action in place":
            action.clamp_(max=1)
        if self.fault == "python's chance":
            random.random()
        if self.fault == "two actions":
            torch.zeros(2)[action]
        if self.fault == "typing":
            state.squeze()  # type: ignore[operator]  # the fault
        self.count += 1
        state = state + 0.1 * (action - 1).unsqueeze(-1)
        reward, ended = -(state[..., 0] - task.unsqueeze(1)).abs(), state[..., 0] > 1
        seen = torch.cat([state, u], -1)
        if self.fault == "own memory":
            self.buffer = self.buffer if self.buffer.shape == state.shape else torch.zeros_like(state)
            state = self.buffer.copy_(state)
        parts: dict[str, Any] = {
            "counting": {"reward": reward + self.count},
            "neighbours": {"reward": reward - reward.mean()},
            "float terminated": {"terminated": ended.float()},
            "whole terminated": {"terminated": ended.long()},
            "reward of numpy": {"reward": reward.numpy()},
            "reward with an axis": {"reward": reward.unsqueeze(-1)},
            "reward for a task": {"reward": reward[:, :1]},
            "complex reward": {"reward": reward + 0j},
            "wide": {"observation": torch.cat([seen, seen], -1)},
            "without a width": {"observation": seen[..., 0]},
            "flat state": {"state": state[..., 0]},
            "elsewhere": {"observation": seen.to("meta")},
        }
        if self.fault == "five":
            return seen, reward, ended, ended, {}
        if self.fault == "nothing":
            return None
        return Transition(state, seen, reward, ended)._replace(**parts.get(self.fault, {}))

    def dense_reward(self, task: Any, trajectory: Any) -> Any:  # noqa: ARG002
        return trajectory.reward.sum(-1) if self.fault == "dense" else trajectory.reward


class Late(World):
    """A world that is correct until its state, the number of steps, is `after`; from then on it has the fault."""

    observations, actions, discrete, noise = 1, 2, True, 0

    def __init__(self, fault: str = "", after: int = 5, horizon: int = 10):
        self.fault, self.after, self.horizon, self.count = fault, after, horizon, 0

    def task(self, seeds: Tensor) -> Tensor:
        return seeds.float()

    def reset(self, task: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        return torch.zeros(*u.shape[:2], 1), torch.zeros(*u.shape[:2], 1)

    def step(self, task: Tensor, state: Tensor, action: Tensor, u: Tensor) -> Any:  # noqa: ARG002
        moved, fault = state + 1, self.fault if (state >= self.after).any() else ""
        reward, ended = task.unsqueeze(1) + action, torch.zeros(state.shape[:2], dtype=torch.bool)
        self.count += 1
        if fault == "task in place":
            task += 1000
        if fault == "state in place":
            state.clamp_(max=1e9)
        if fault == "torch's chance":
            reward = torch.rand(state.shape[:2])
        if self.fault == "counting":
            reward = torch.full_like(reward, float(self.count > 60))
        if fault == "fails":
            raise IndexError("list index out of range")
        if fault == "five":
            return moved, moved, reward, ended, {}
        return Transition(moved, moved[..., :0] if fault == "narrow" else moved, reward, ended)
