"""The meta-objective under Lightning: training, evaluation, what TensorBoard shows, and checkpoints."""

from lightning_meta.training.checkpoint import load
from lightning_meta.training.meta_rl import MetaRL
from lightning_meta.training.module import MetaTraining

__all__ = ["MetaRL", "MetaTraining", "load"]
