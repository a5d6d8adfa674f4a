"""Agents that meta-learn by reinforcement: one idea, one file and one citation each.

`parts` holds what agents are made of, `strategies` hand-designed strategies to compare them with.
"""

from lightning_meta.rl._memory_based import MemoryBased
from lightning_meta.rl._update_based import UpdateBased
from lightning_meta.rl.maml import MAML
from lightning_meta.rl.parts.ppo import A2C, PPO
from lightning_meta.rl.pearl import PEARL
from lightning_meta.rl.recurrent_dpg import RecurrentDPG
from lightning_meta.rl.rl2 import RL2

__all__ = ["A2C", "MAML", "PEARL", "PPO", "RL2", "MemoryBased", "RecurrentDPG", "UpdateBased"]
