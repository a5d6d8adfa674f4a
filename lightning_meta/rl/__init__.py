"""Meta-reinforcement learners: one idea, one file, one citation."""

from lightning_meta.rl.maml import MAML
from lightning_meta.rl.objectives import A2C, PPO
from lightning_meta.rl.pearl import PEARL
from lightning_meta.rl.recurrent import RL2
from lightning_meta.rl.recurrent_dpg import RecurrentDPG

__all__ = ["A2C", "MAML", "PEARL", "PPO", "RL2", "RecurrentDPG"]
