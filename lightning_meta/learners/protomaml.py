"""ProtoMAML: MAML whose head starts as a Prototypical Network.

Eleni Triantafillou et al. Meta-Dataset: A Dataset of Datasets for Learning to Learn from Few Examples. ICLR 2020,
arXiv:1903.03096 (section 3, "Proto-MAML").
"""

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_meta.core import Examples, InputError
from lightning_meta.learners.embedding import membership
from lightning_meta.learners.fast_weights import GradientLearner, Vectorize
from lightning_meta.nn.batch_stats import BatchStats
from lightning_meta.nn.inner_loop import Weights, descend


class ProtoMAML(GradientLearner):
    """theta: a backbone's initial weights. phi: they and a linear head, after a few gradient steps on the support loss.

    The head starts from the class means c_k of the support features, W_k = 2 c_k and b_k = -||c_k||^2: a query's logits
    are then ProtoNet's, -||z - c_k||^2, but for -||z||^2, the same for every class. The meta-gradient passes through that
    start, with `first_order` too. Any number of ways, in training and at test.

    Args:
        backbone: any module [n, *shape] -> [n, d].
        inner_lr: alpha, of backbone and head.
        inner_steps: gradient steps in training; `test_steps`, at test (the same if not given).
        first_order: ignore the second derivatives of the inner steps.
        batch_stats: what batch norm normalises by; see `lightning_meta.nn.batch_stats`.
        vectorize: tasks by `vmap` or in a `loop`; `auto` takes what is faster there.
    """

    def __init__(
        self,
        backbone: nn.Module,
        inner_lr: float = 0.01,
        inner_steps: int = 1,
        test_steps: int | None = None,
        first_order: bool = False,
        batch_stats: BatchStats = "transductive",
        vectorize: Vectorize = "auto",
    ):
        super().__init__(backbone, None, inner_steps, test_steps, batch_stats, vectorize, None)
        if inner_lr <= 0:
            raise InputError(f"inner_lr is {inner_lr}; it must be positive")
        self.inner_lr, self.first_order = inner_lr, first_order

    def descend_all(self, support: Examples, steps: int) -> Weights:
        def adapt_one(support: Examples, member: Tensor) -> Weights:
            theta = self.start()
            return self.descend({**theta, **self.prototype_head(theta, support.x, member)}, support, steps)

        return self.over_tasks(adapt_one, support, membership(support, "ProtoMAML"), like=support.x)

    def prototype_head(self, theta: Weights, x: Tensor, member: Tensor) -> Weights:
        """The head of one task before the first step, from its support x [n, *shape] and member [ways, n]."""
        z = self.run(self.network, theta, x, seen=x[:0])
        centres = member.to(z.dtype) @ z / member.sum(-1, keepdim=True)
        return {"head.weight": 2 * centres, "head.bias": -centres.square().sum(-1)}

    def descend(self, weights: Weights, support: Examples, steps: int) -> Weights:
        rates = [dict.fromkeys(weights, self.inner_lr)] * steps
        return descend(lambda w: self.support_loss(w, support), weights, rates, self.first_order)

    def predict(self, weights: Weights, x: Tensor, seen: Tensor) -> Tensor:
        body = {name: w for name, w in weights.items() if not name.startswith("head.")}
        return F.linear(self.run(self.network, body, x, seen), weights["head.weight"], weights["head.bias"])
