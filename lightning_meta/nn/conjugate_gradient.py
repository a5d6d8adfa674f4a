"""Conjugate gradient on weights by name: A x = b where only products with A are available."""

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_meta.nn.inner_loop import Weights

FLAT = 0.1  # curvature, p A p / p p, below which a search direction is not followed; eigenvalues are around 1


def conjugate_gradient(product: Callable[[Weights], Weights], b: Weights, steps: int, flat: float = FLAT) -> Weights:
    """x after `steps` steps towards A x = b; `product` is A times a vector, A symmetric, its eigenvalues above `flat`.

    In exact arithmetic as many steps as b has numbers solve it. Along a direction of a curvature below `flat` (x is exact,
    or A is nearly singular or not positive definite, where a step would be anything) x stays for good. x is b itself for 0
    steps, and where b is such a direction. No branch depends on data, so vmap lifts it.
    """
    x, r, p, rr = b, b, b, dot(b, b)
    for step in range(steps):
        ap = product(p)
        curvature = dot(p, ap)
        go = curvature > flat * dot(p, p)
        alpha = torch.where(go, rr / curvature, float(step == 0))
        x = {name: alpha * p[name] + (x[name] if step else 0) for name in b}
        r = {name: r[name] - alpha * ap[name] for name in b}
        before, rr = rr, dot(r, r)
        # A direction of 0 has no curvature: once stopped, it stays stopped.
        p = {name: torch.where(go, r[name] + rr / before * p[name], 0) for name in b}
    return x


def dot(a: Weights, b: Weights) -> Tensor:
    """The inner product over all weights, a scalar."""
    return torch.stack([(a[name] * b[name]).sum() for name in a]).sum()
