"""Meta-gradients beside finite differences."""

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_meta.core import FewShotLearner


def slopes(learner: FewShotLearner, loss: Callable[[], Tensor], step: float = 1e-6) -> tuple[float, float]:
    """The derivative of the loss along a random direction of theta: by the meta-gradient, and by central differences. The
    same random numbers (dropout) are drawn at each call, and buffers are as they were."""
    buffers = {name: buffer.clone() for name, buffer in learner.named_buffers()}

    def drawn() -> Tensor:
        torch.manual_seed(1)
        learner.load_state_dict(buffers, strict=False)
        return loss()

    theta = [w for w in learner.parameters() if w.requires_grad]
    gradient = torch.autograd.grad(drawn(), theta, allow_unused=True)
    direction, start = [torch.randn_like(w) for w in theta], [w.detach().clone() for w in theta]
    ends = []
    for sign in (+1, -1):
        for w, at, d in zip(theta, start, direction, strict=True):
            w.data = at + sign * step * d
        with torch.no_grad():
            ends.append(float(drawn()))
    for w, at in zip(theta, start, strict=True):
        w.data = at
    along = sum(float((g * d).sum()) for g, d in zip(gradient, direction, strict=True) if g is not None)
    return along, (ends[0] - ends[1]) / (2 * step)
