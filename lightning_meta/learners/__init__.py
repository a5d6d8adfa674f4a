"""The meta-learners: one idea, one file, one citation."""

from lightning_meta.learners.cnp import CNP
from lightning_meta.learners.imaml import IMAML
from lightning_meta.learners.learned_optimizer import LearnedOptimizer
from lightning_meta.learners.maml import MAML
from lightning_meta.learners.mann import MANN
from lightning_meta.learners.matching import MatchingNet
from lightning_meta.learners.meta_lstm import MetaLSTM
from lightning_meta.learners.pretraining import Pretraining
from lightning_meta.learners.protomaml import ProtoMAML
from lightning_meta.learners.protonet import ProtoNet
from lightning_meta.learners.r2d2 import R2D2
from lightning_meta.learners.relation import RelationNet
from lightning_meta.learners.reptile import Reptile
from lightning_meta.learners.sequence_reader import SequenceReader

__all__ = [
    "CNP",
    "IMAML",
    "MAML",
    "MANN",
    "R2D2",
    "LearnedOptimizer",
    "MatchingNet",
    "MetaLSTM",
    "Pretraining",
    "ProtoMAML",
    "ProtoNet",
    "RelationNet",
    "Reptile",
    "SequenceReader",
]
