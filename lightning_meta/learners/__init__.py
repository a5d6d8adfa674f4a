"""The meta-learners: one idea, one file, one citation.

Every learner in a file of this folder is found by itself, under the name of its class; files whose names begin with `_`
hold what a family shares.
"""

import sys
from typing import TYPE_CHECKING, Any

from lightning_meta.core import FewShotLearner
from lightning_meta.core.discovery import find_classes

if TYPE_CHECKING:  # for type checkers and editors, which do not look into the folder
    from lightning_meta.learners.anil import ANIL as ANIL
    from lightning_meta.learners.cnp import CNP as CNP
    from lightning_meta.learners.imaml import IMAML as IMAML
    from lightning_meta.learners.learned_optimizer import LearnedOptimizer as LearnedOptimizer
    from lightning_meta.learners.maml import MAML as MAML
    from lightning_meta.learners.mamlpp import MAMLPlusPlus as MAMLPlusPlus
    from lightning_meta.learners.mann import MANN as MANN
    from lightning_meta.learners.matching import MatchingNet as MatchingNet
    from lightning_meta.learners.meta_lstm import MetaLSTM as MetaLSTM
    from lightning_meta.learners.meta_sgd import MetaSGD as MetaSGD
    from lightning_meta.learners.pretraining import Pretraining as Pretraining
    from lightning_meta.learners.protomaml import ProtoMAML as ProtoMAML
    from lightning_meta.learners.protonet import ProtoNet as ProtoNet
    from lightning_meta.learners.r2d2 import R2D2 as R2D2
    from lightning_meta.learners.relation import RelationNet as RelationNet
    from lightning_meta.learners.reptile import Reptile as Reptile
    from lightning_meta.learners.sequence_reader import SequenceReader as SequenceReader

    def __getattr__(name: str) -> Any: ...  # a learner that is not listed above


_LEARNERS = find_classes(sys.modules[__name__], FewShotLearner)
globals().update(_LEARNERS)
__all__ = sorted(_LEARNERS)  # pyright: ignore[reportUnsupportedDunderAll]
