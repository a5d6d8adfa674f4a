"""The meta-learners: one idea, one file, one citation."""

from lightning_meta.learners.imaml import IMAML
from lightning_meta.learners.maml import MAML
from lightning_meta.learners.protomaml import ProtoMAML
from lightning_meta.learners.protonet import ProtoNet
from lightning_meta.learners.reptile import Reptile

__all__ = ["IMAML", "MAML", "ProtoMAML", "ProtoNet", "Reptile"]
