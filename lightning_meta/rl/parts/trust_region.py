"""The natural gradient step within a trust region.

John Schulman, Sergey Levine, Philipp Moritz, Michael Jordan and Pieter Abbeel. Trust Region Policy Optimization.
ICML 2015, arXiv:1502.05477, appendix C.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_meta.core.distributed import mean_over_processes
from lightning_meta.nn.conjugate_gradient import conjugate_gradient, dot
from lightning_meta.nn.inner_loop import Weights

BACKTRACKS = 15  # the number of step lengths that are tried
SHRINK = 0.8  # each is this factor of the one before


def trust_region_step(
    loss_and_kl: Callable[[Weights], tuple[Tensor, Tensor]],
    theta: Weights,
    max_kl: float,
    cg_steps: int,
    damping: float,
) -> tuple[Weights, dict[str, Tensor]]:
    """Return the step s = -sqrt(2 max_kl / x'Hx) x, where H x = grad L.

    The step is shortened until L falls and the divergence is at most `max_kl`; if that never happens it is 0. H is the
    Hessian of the divergence at theta, damped, known only by its products with vectors. Every product, gradient, loss and
    divergence is a mean over processes, so all processes take the same step.

    Args:
        loss_and_kl: returns L and the mean divergence from the policy that acted, both scalars, for some weights.
        theta: the current weights.
        max_kl: the largest divergence, in nats.
        cg_steps: the number of conjugate gradient steps.
        damping: added to the curvature.

    Returns:
        The step by weight, and scalars: the `kl` that was reached and the `gain` by which L fell.
    """
    loss, kl = loss_and_kl(theta)
    gradient = averaged(theta, torch.autograd.grad(loss, list(theta.values()), retain_graph=True))
    slope = dict(zip(theta, torch.autograd.grad(kl, list(theta.values()), create_graph=True), strict=True))

    def hessian_product(v: Weights) -> Weights:
        product = averaged(theta, torch.autograd.grad(dot(slope, v), list(theta.values()), retain_graph=True))
        return {name: product[name] + damping * v[name] for name in v}

    x = conjugate_gradient(hessian_product, gradient, cg_steps, flat=0.0)
    scale = torch.sqrt(2 * max_kl / dot(x, hessian_product(x)))
    with torch.no_grad():
        old_loss, _ = mean_over_processes(torch.stack([loss, kl]))
        for k in range(BACKTRACKS):
            step = {name: -(SHRINK**k) * scale * x[name] for name in x}
            new_loss, new_kl = mean_over_processes(
                torch.stack(loss_and_kl({name: w + step[name] for name, w in theta.items()}))
            )
            if new_loss < old_loss and new_kl <= max_kl:
                return step, {"kl": new_kl, "gain": old_loss - new_loss}
    return {name: torch.zeros_like(w) for name, w in theta.items()}, {"kl": 0 * old_loss, "gain": 0 * old_loss}


def averaged(theta: Weights, gradient: tuple[Tensor, ...]) -> Weights:
    """Return the gradient by the names of weights, averaged over processes."""
    return {name: mean_over_processes(g) for name, g in zip(theta, gradient, strict=True)}
