"""Worlds: families of decision processes as tensors, with a different task in every slot.

Every world in a file of this folder is found by itself, under the name of its class. A world of your own elsewhere is named
by its module, for example `my_module.MyWorld`.
"""

import sys
from typing import TYPE_CHECKING, Any

from lightning_meta.core import World
from lightning_meta.core.discovery import find_classes

if TYPE_CHECKING:  # for type checkers and editors, which do not look into the folder
    from lightning_meta.envs.ant import AntDirection as AntDirection
    from lightning_meta.envs.bandits import Bandits as Bandits
    from lightning_meta.envs.bandits import TwoArms as TwoArms
    from lightning_meta.envs.cartpole import CartPole as CartPole
    from lightning_meta.envs.half_cheetah import HalfCheetahDirection as HalfCheetahDirection
    from lightning_meta.envs.half_cheetah import HalfCheetahVelocity as HalfCheetahVelocity
    from lightning_meta.envs.imaze import IMaze as IMaze
    from lightning_meta.envs.oracle import RevealTask as RevealTask
    from lightning_meta.envs.pendulum import Pendulum as Pendulum
    from lightning_meta.envs.points import Navigation as Navigation
    from lightning_meta.envs.points import PointRobot as PointRobot
    from lightning_meta.envs.tabular import TabularMDPs as TabularMDPs

    def __getattr__(name: str) -> Any: ...  # a world that is not listed above


_WORLDS = find_classes(sys.modules[__name__], World)
globals().update(_WORLDS)
__all__ = sorted(_WORLDS)  # pyright: ignore[reportUnsupportedDunderAll]
