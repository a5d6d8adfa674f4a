"""Worlds: families of decision processes as tensors, with a different task in every slot.

A world of your own needs no entry here: a YAML names it by its module, for example `my_module.MyWorld`.
"""

from lightning_meta.envs.ant import AntDirection
from lightning_meta.envs.bandits import Bandits, TwoArms
from lightning_meta.envs.cartpole import CartPole
from lightning_meta.envs.half_cheetah import HalfCheetahDirection, HalfCheetahVelocity
from lightning_meta.envs.imaze import IMaze
from lightning_meta.envs.oracle import RevealTask
from lightning_meta.envs.pendulum import Pendulum
from lightning_meta.envs.points import Navigation, PointRobot
from lightning_meta.envs.tabular import TabularMDPs

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
    "RevealTask",
    "TabularMDPs",
    "TwoArms",
]
