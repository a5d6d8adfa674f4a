"""Agents that meta-learn by reinforcement: one idea, one file and one citation each.

Every agent in a file of this folder is found by itself, under the name of its class; files whose names begin with `_` hold
what a family shares. `parts` holds what agents are made of, `strategies` hand-designed strategies to compare them with.
"""

import sys
from typing import TYPE_CHECKING, Any

from lightning_meta.core import MetaRLLearner
from lightning_meta.core.discovery import find_classes
from lightning_meta.rl._memory_based import MemoryBased as MemoryBased
from lightning_meta.rl._update_based import UpdateBased as UpdateBased
from lightning_meta.rl.parts.ppo import A2C as A2C
from lightning_meta.rl.parts.ppo import PPO as PPO

if TYPE_CHECKING:  # for type checkers and editors, which do not look into the folder
    from lightning_meta.rl.maml import MAML as MAML
    from lightning_meta.rl.pearl import PEARL as PEARL
    from lightning_meta.rl.recurrent_dpg import RecurrentDPG as RecurrentDPG
    from lightning_meta.rl.rl2 import RL2 as RL2

    def __getattr__(name: str) -> Any: ...  # an agent that is not listed above


_AGENTS = find_classes(sys.modules[__name__], MetaRLLearner)
globals().update(_AGENTS)
__all__ = ["A2C", "PPO", "MemoryBased", "UpdateBased", *sorted(_AGENTS)]  # pyright: ignore[reportUnsupportedDunderAll]
