"""A half-cheetah that runs in a direction or at a speed (Finn et al. 2017, arXiv:1703.03400; see `running`)."""

from jaxtyping import Float, Int
from torch import Tensor

from lightning_meta.core import InputError
from lightning_meta.envs.parameters import uniform_between
from lightning_meta.envs.running import Running, describe_direction, direction


class HalfCheetahDirection(Running):
    """A half-cheetah that has to run forward or backward: two tasks, even and odd seeds.

    The reward is the speed in that direction minus 0.05 |torque|^2 (0.1 in HalfCheetah-v5). An episode never ends before its
    horizon.

    Args:
        horizon: The number of steps per episode.
        full_torque: The action that stands for the strongest torque of a joint; larger ones are clipped. A policy whose
            initial noise has standard deviation 1 moves more gently with 10, as in pytorch-maml-rl; a policy that acts in
            [-1, 1] needs 1.
        control_cost: The cost of the sum of squared torques, each as a share of the strongest.
    """

    model, hidden, tasks = "half_cheetah.xml", 1, 2

    def __init__(self, horizon: int = 200, full_torque: float = 1.0, control_cost: float = 0.05):
        super().__init__(horizon, full_torque, control_cost)

    def task(self, seeds: Int[Tensor, " tasks"]) -> Float[Tensor, " tasks"]:
        return direction(seeds)

    def task_reward(self, task: Tensor, speed: Tensor, fallen: Tensor) -> Tensor:  # noqa: ARG002
        return task * speed

    def describe(self, task: Tensor) -> list[str]:
        return describe_direction(task)


class HalfCheetahVelocity(Running):
    """A half-cheetah that has to run at a given speed.

    The reward is minus the difference between the speed and the given one, minus 0.05 |torque|^2. An episode never ends
    before its horizon.

    Args:
        speeds: The limits of the given speed in m/s, which is uniform between them: 0 and 2 in MAML, 0 and 3 in PEARL.
        horizon: The number of steps per episode.
        full_torque: The action that stands for the strongest torque of a joint; larger ones are clipped. A policy whose
            initial noise has standard deviation 1 moves more gently with 10, as in pytorch-maml-rl; a policy that acts in
            [-1, 1] needs 1.
        control_cost: The cost of the sum of squared torques, each as a share of the strongest.
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
            raise InputError(f"speeds is {speeds}: give two numbers, the smaller first")
        super().__init__(horizon, full_torque, control_cost)
        self.speeds = speeds

    def task(self, seeds: Int[Tensor, " tasks"]) -> Float[Tensor, " tasks"]:
        return uniform_between(self.speeds, seeds, "speeds")

    def task_reward(self, task: Tensor, speed: Tensor, fallen: Tensor) -> Tensor:  # noqa: ARG002
        return -(speed - task).abs()

    def describe(self, task: Tensor) -> list[str]:
        return [f"{speed:.1f} m/s" for speed in task.tolist()]
