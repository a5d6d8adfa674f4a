"""The interface of a world: a distribution p(M) over decision processes."""

from abc import ABC, abstractmethod
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from lightning_meta.core.trajectory import Trajectory, Transition


class World(ABC):
    """A family of decision processes, as pure functions over a batch with a different task in every slot.

    A world returns new tensors and leaves its arguments as they are. It draws no random numbers itself: it is given numbers
    u that are uniform in (0, 1).

    Attributes:
        observations: numbers in an observation; 0 if there is nothing to observe.
        actions: the number of discrete actions, or the length of a continuous action, whose numbers are meant to be in
            [-1, 1].
        discrete: whether actions are discrete.
        horizon: the number of steps after which an episode is truncated.
        noise: the number of random numbers that a reset or a step takes.
        tasks: the number of different tasks if it is finite (seeds 0 .. tasks - 1), otherwise None.
        stateful: whether a step depends on everything since the reset and not only on the state, as in a simulator that
            keeps a state of its own.
    """

    observations: int
    actions: int
    discrete: bool
    horizon: int
    noise: int
    tasks: int | None = None
    stateful: bool = False

    @abstractmethod
    def task(self, seeds: Int[Tensor, " tasks"]) -> Any:
        """Return the parameters that differ between tasks, a tensor [tasks, ...] or a tuple of them.

        Each row must be a pure function of its seed.
        """

    @abstractmethod
    def reset(self, task: Any, u: Float[Tensor, "tasks envs noise"]) -> tuple[Tensor, Tensor]:
        """Start the first episode of a trial: return its state [tasks, envs, s] and observation [tasks, envs, d]."""

    def soft_reset(self, task: Any, u: Float[Tensor, "tasks envs noise"]) -> tuple[Tensor, Tensor]:
        """Start a later episode of the same trial. By default it starts like the first."""
        return self.reset(task, u)

    @abstractmethod
    def step(self, task: Any, state: Tensor, action: Tensor, u: Float[Tensor, "tasks envs noise"]) -> Transition:
        """Return the result of an action: whole numbers [tasks, envs] if discrete, otherwise [tasks, envs, actions]."""

    def dense_reward(self, task: Any, trajectory: Trajectory) -> Float[Tensor, "tasks envs time"]:  # noqa: ARG002
        """Return the reward that a critic may learn from in training if the reward is sparse. By default the reward."""
        return trajectory.reward
