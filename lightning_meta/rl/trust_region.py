"""The natural gradient step within a trust region.

John Schulman, Sergey Levine, Philipp Moritz, Michael Jordan and Pieter Abbeel. Trust Region Policy Optimization.
ICML 2015, arXiv:1502.05477, appendix C.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_meta.nn.conjugate_gradient import conjugate_gradient, dot
from lightning_meta.nn.inner_loop import Weights
from lightning_meta.rl.processes import mean_over_processes

BACKTRACKS = 15  # how often a step is tried, each time shorter
SHORTER = 0.8


def trust_region_step(
    judge: Callable[[Weights], tuple[Tensor, Tensor]],
    theta: Weights,
    kl: float,
    cg_steps: int,
    damping: float,
) -> tuple[Weights, dict[str, Tensor]]:
    """s = -sqrt(2 kl / x'Hx) x with H x = grad L, shortened until L falls and the divergence is at most `kl`; else 0.

    `judge` gives L and the mean divergence from the policy that acted, both scalars, for some weights. H is the Hessian of
    the divergence at theta, damped, known by its products with vectors alone. Each product, each gradient and each
    judgement is the mean over processes, which therefore take the same step. Also returns scalars: the divergence
    `kl` that was reached and the `gain`, by how much L fell.
    """
    loss, divergence = judge(theta)
    gradient = averaged(theta, torch.autograd.grad(loss, list(theta.values()), retain_graph=True))
    slope = dict(zip(theta, torch.autograd.grad(divergence, list(theta.values()), create_graph=True), strict=True))

    def product(v: Weights) -> Weights:
        curved = averaged(theta, torch.autograd.grad(dot(slope, v), list(theta.values()), retain_graph=True))
        return {name: curved[name] + damping * v[name] for name in v}

    x = conjugate_gradient(product, gradient, cg_steps, flat=0.0)
    scale = torch.sqrt(2 * kl / dot(x, product(x)))
    with torch.no_grad():
        before, _ = mean_over_processes(torch.stack([loss, divergence]))
        for k in range(BACKTRACKS):
            step = {name: -(SHORTER**k) * scale * x[name] for name in x}
            after, reached = mean_over_processes(
                torch.stack(judge({name: w + step[name] for name, w in theta.items()}))
            )
            if after < before and reached <= kl:
                return step, {"kl": reached, "gain": before - after}
    return {name: torch.zeros_like(w) for name, w in theta.items()}, {"kl": 0 * before, "gain": 0 * before}


def averaged(theta: Weights, gradient: tuple[Tensor, ...]) -> Weights:
    """By name, over processes."""
    return {name: mean_over_processes(g) for name, g in zip(theta, gradient, strict=True)}
