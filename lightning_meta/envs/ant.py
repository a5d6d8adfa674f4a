"""An ant that walks in a direction (Finn et al. 2017, arXiv:1703.03400; see `running`)."""

from jaxtyping import Bool, Float, Int
from torch import Tensor

from lightning_meta.envs.running import Running, describe_direction, direction


class AntDirection(Running):
    """An ant that has to walk forward or backward: two tasks, even and odd seeds.

    The reward is the speed in that direction, plus 1 while upright, minus 0.5 |torque|^2, as in Ant-v5 and in PEARL. An
    episode ends when the torso is below 0.2 m or above 1 m.

    Deviations from Ant-v5: contact forces, 78 more numbers in an observation and a small cost, are left out, because at the
    time of the papers MuJoCo did not report them to the predecessor of gymnasium. The speed is that of the root joint, in
    Ant-v5 that of a torso which lags behind it by a part of a physics step.

    Args:
        horizon: The number of steps per episode.
        full_torque: The action that stands for the strongest torque of a joint; larger ones are clipped. A policy whose
            initial noise has standard deviation 1 moves more gently with 10, as in pytorch-maml-rl; a policy that acts in
            [-1, 1] needs 1.
        control_cost: The cost of the sum of squared torques, each as a share of the strongest.
        upright: The reward per step while the ant is upright.
    """

    model, hidden, tasks = "ant.xml", 2, 2

    def __init__(self, horizon: int = 200, full_torque: float = 1.0, control_cost: float = 0.5, upright: float = 1.0):
        super().__init__(horizon, full_torque, control_cost)
        self.upright = upright

    def task(self, seeds: Int[Tensor, " tasks"]) -> Float[Tensor, " tasks"]:
        return direction(seeds)

    def task_reward(self, task: Tensor, speed: Tensor, fallen: Tensor) -> Tensor:
        return task * speed + self.upright * ~fallen

    def has_fallen(self, state: Float[Tensor, "tasks envs s"]) -> Bool[Tensor, "tasks envs"]:
        return ~((state[..., 3] >= 0.2) & (state[..., 3] <= 1.0))

    def describe(self, task: Tensor) -> list[str]:
        return describe_direction(task)
