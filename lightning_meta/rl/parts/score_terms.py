"""Policy gradients that can be differentiated again.

If actions were sampled by the policy itself, the derivative of its gradient has terms in the scores, grad log pi, which
automatic differentiation of grad log pi * A does not include.

Jakob Foerster et al. DiCE: The Infinitely Differentiable Monte Carlo Estimator. ICML 2018, arXiv:1802.05098.
With a baseline: Gregory Farquhar, Shimon Whiteson and Jakob Foerster. Loaded DiCE. NeurIPS 2019, arXiv:1909.10549.
With low variance: Jonas Rothfuss et al. ProMP: Proximal Meta-Policy Search. ICLR 2019, arXiv:1810.06784.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

ScoreTerms = Literal["none", "step", "all"]


def score_factor(
    log_prob: Float[Tensor, "tasks envs time"], valid: Bool[Tensor, "tasks envs time"], terms: ScoreTerms
) -> Float[Tensor, "tasks envs time"]:
    """Return a factor of the advantages: its value is 1 at each step, its gradient g_t = grad log pi(a_t).

    Its second derivative is grad g_t plus

        none    0                           as Finn et al. (2017) differentiate; wrong in expectation
        step    g_t g_t'                    Rothfuss et al.: without the terms between steps, which are large and noisy
        all     w_t w_t' - v_t v_t'         with w_t = g_1 + ... + g_t and v_t = w_t - g_t: right in expectation
    """
    if terms == "none":
        return 1 + log_prob - log_prob.detach()
    if terms == "step":
        return magic_box(log_prob)
    up_to_here = (log_prob * valid).cumsum(-1)
    return 1 + magic_box(up_to_here) - magic_box(up_to_here - log_prob * valid)


def magic_box(x: Float[Tensor, "tasks envs time"]) -> Float[Tensor, "tasks envs time"]:
    """Return 1, with the derivatives of exp(x - x0) at x0 = x."""
    return torch.exp(x - x.detach())
