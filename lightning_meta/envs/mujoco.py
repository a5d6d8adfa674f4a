"""Animals that run: which way, or how fast, is the task. MuJoCo moves them, many at once.

Chelsea Finn, Pieter Abbeel and Sergey Levine. Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks. ICML 2017,
arXiv:1703.03400, section 5.3. Kate Rakelly et al. Efficient Off-Policy Meta-Reinforcement Learning via Probabilistic Context
Variables. ICML 2019, arXiv:1903.08254, section 6.1.

Bodies, starts and the 5 physics steps of 0.01 s that one action lasts are those of gymnasium's HalfCheetah-v5 and Ant-v5.
Rewards are those of the papers' code where it says nothing else.
"""

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lightning_meta.core import InputError, Moved, World, uniform
from lightning_meta.envs.arguments import at_least_one
from lightning_meta.envs.physics import Physics
from lightning_meta.envs.tabular import normal


class Running(World):
    """What the animals share. An action is the torque of each joint as a share of the strongest, of which `full_torque` in
    an action is the whole: larger ones are clipped, and the clipped ones cost. A policy whose noise begins at 1 moves more
    gently where it is 10, as in pytorch-maml-rl; one that acts in [-1, 1] needs the 1.

    The state is MuJoCo's: the time in seconds, places and velocities, in float64. The observation is the state without the
    time and where along the ground the animal is.
    """

    model: ClassVar[str]  # a file of gymnasium's
    hidden: ClassVar[int]  # places that are not observed

    def __init__(self, horizon: int, full_torque: float, control_cost: float):
        at_least_one(horizon=horizon)
        if full_torque <= 0 or control_cost < 0:
            raise InputError(
                f"full_torque {full_torque}, control_cost {control_cost}: give more than 0, and a cost of 0 or more"
            )
        self.physics = Physics(self.model)
        self.full_torque, self.control_cost = full_torque, control_cost
        self.observations = self.physics.places + self.physics.velocities - self.hidden
        self.actions, self.discrete = self.physics.torques, False
        self.horizon, self.noise = horizon, 1

    def reset(self, task: Tensor, u: Float[Tensor, "tasks envs 1"]) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Places within 0.1 of upright, velocities from N(0, 0.1^2). There are 2^23 such starts, and u says which."""
        places, velocities = self.physics.places, self.physics.velocities
        noise = uniform((u.flatten() * 2**23).long(), "start", places + velocities)
        noise = noise.double().reshape(*u.shape[:2], -1)
        spread, pushed = 0.2 * noise[..., :places] - 0.1, 0.1 * normal(noise[..., places:])
        state = self.physics.upright.to(noise) + torch.cat([torch.zeros_like(noise[..., :1]), spread, pushed], -1)
        return state, self.seen(state)

    def step(self, task: Tensor, state: Tensor, action: Tensor, u: Tensor) -> Moved:  # noqa: ARG002
        torque = (action.double() / self.full_torque).clamp(-1, 1)
        after = self.physics.moved(state, torque)
        elapsed = after[..., 0] - state[..., 0]
        elapsed = elapsed.where(elapsed > 0.9 * self.physics.seconds, torch.nan)  # MuJoCo began anew: it had blown up
        speed = (after[..., 1] - state[..., 1]) / elapsed
        fallen = self.fallen(after)
        reward = self.paid(task.unsqueeze(1), speed, fallen) - self.control_cost * torque.square().sum(-1)
        return Moved(after, self.seen(after), reward, fallen)

    def seen(self, state: Float[Tensor, "tasks envs s"]) -> Float[Tensor, "tasks envs d"]:
        return state[..., 1 + self.hidden :]

    def fallen(self, state: Float[Tensor, "tasks envs s"]) -> Bool[Tensor, "tasks envs"]:
        """Whether that ends the episode; by default it never does."""
        return torch.zeros_like(state[..., 0], dtype=torch.bool)

    @abstractmethod
    def paid(self, task: Tensor, speed: Float[Tensor, "tasks envs"], fallen: Bool[Tensor, "tasks envs"]) -> Tensor:
        """The reward before the cost of torques. speed: along x in m/s, the mean over the action."""

    @abstractmethod
    def names(self, task: Tensor) -> list[str]:
        """What each task asks for, in words."""


class HalfCheetahDirection(Running):
    """Run forward or backward: the reward is the speed that way, less 0.05 |torque|^2 (0.1 in HalfCheetah-v5). Two tasks,
    seeds that are even and odd. An episode never ends before its horizon."""

    model, hidden, tasks = "half_cheetah.xml", 1, 2

    def __init__(self, horizon: int = 200, full_torque: float = 1.0, control_cost: float = 0.05):
        super().__init__(horizon, full_torque, control_cost)

    def task(self, seeds: Int[Tensor, " tasks"]) -> Float[Tensor, " tasks"]:
        return direction(seeds)

    def paid(self, task: Tensor, speed: Tensor, fallen: Tensor) -> Tensor:  # noqa: ARG002
        return task * speed

    def names(self, task: Tensor) -> list[str]:
        return ways(task)


class HalfCheetahVelocity(Running):
    """Run at the speed that a task asks for: the reward is minus how far off it the speed is, less 0.05 |torque|^2. An
    episode never ends before its horizon.

    speeds: those asked for are uniform between these two, in m/s; 0 and 2 in MAML, 0 and 3 in PEARL.
    """

    model, hidden = "half_cheetah.xml", 1

    def __init__(
        self,
        speeds: tuple[float, float] = (0.0, 2.0),
        horizon: int = 200,
        full_torque: float = 1.0,
        control_cost: float = 0.05,
    ):
        if speeds[0] > speeds[1]:
            raise InputError(f"speeds {speeds}: give two numbers, the smaller first")
        super().__init__(horizon, full_torque, control_cost)
        self.speeds = speeds

    def task(self, seeds: Int[Tensor, " tasks"]) -> Float[Tensor, " tasks"]:
        return self.speeds[0] + (self.speeds[1] - self.speeds[0]) * uniform(seeds, "speeds")

    def paid(self, task: Tensor, speed: Tensor, fallen: Tensor) -> Tensor:  # noqa: ARG002
        return -(speed - task).abs()

    def names(self, task: Tensor) -> list[str]:
        return [f"{speed:.1f} m/s" for speed in task.tolist()]


class AntDirection(Running):
    """Walk forward or backward: the reward is the speed that way, and 1 while upright, less 0.5 |torque|^2, as in Ant-v5 and
    in PEARL. An episode ends where the torso is below 0.2 m or above 1 m. Two tasks, as those of the cheetah.

    Without what Ant-v5 makes of contact forces, 78 more numbers in an observation and a small cost: in the papers' days
    MuJoCo did not tell them to gymnasium's forerunner. The speed is that of the root joint, in Ant-v5 that of a torso which
    lags behind it by a part of a physics step.
    """

    model, hidden, tasks = "ant.xml", 2, 2

    def __init__(self, horizon: int = 200, full_torque: float = 1.0, control_cost: float = 0.5, upright: float = 1.0):
        super().__init__(horizon, full_torque, control_cost)
        self.upright = upright

    def task(self, seeds: Int[Tensor, " tasks"]) -> Float[Tensor, " tasks"]:
        return direction(seeds)

    def paid(self, task: Tensor, speed: Tensor, fallen: Tensor) -> Tensor:
        return task * speed + self.upright * ~fallen

    def fallen(self, state: Float[Tensor, "tasks envs s"]) -> Bool[Tensor, "tasks envs"]:
        return ~((state[..., 3] >= 0.2) & (state[..., 3] <= 1.0))

    def names(self, task: Tensor) -> list[str]:
        return ways(task)


def direction(seeds: Int[Tensor, " tasks"]) -> Float[Tensor, " tasks"]:
    """1, forward, or -1, backward."""
    return 1.0 - 2.0 * (seeds % 2)


def ways(direction: Float[Tensor, " tasks"]) -> list[str]:
    return ["forward" if one > 0 else "backward" for one in direction.tolist()]
