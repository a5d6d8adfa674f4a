"""Worlds: families of decision processes as tensors, a different task in every slot."""

from lightning_meta.envs.bandits import Bandits, TwoArms
from lightning_meta.envs.classic import CartPole, Pendulum
from lightning_meta.envs.maze import IMaze
from lightning_meta.envs.mujoco import AntDirection, HalfCheetahDirection, HalfCheetahVelocity
from lightning_meta.envs.points import Navigation, PointRobot
from lightning_meta.envs.tabular import TabularMDPs
from lightning_meta.envs.told import Told

__all__ = [
    "AntDirection",
    "Bandits",
    "CartPole",
    "HalfCheetahDirection",
    "HalfCheetahVelocity",
    "IMaze",
    "Navigation",
    "Pendulum",
    "PointRobot",
    "TabularMDPs",
    "Told",
    "TwoArms",
]
