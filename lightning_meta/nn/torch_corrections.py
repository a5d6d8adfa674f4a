"""Replacements, in an inner loop, of torch operations whose second derivative or vmap rule is wrong or missing.

`tests/nn/test_torch_corrections.py` finds such operations: it sweeps all of torch.nn and torch.nn.functional. Normalisation
by a batch, which is also a choice, is in `lightning_meta.nn.batch_stats`.
"""

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.spectral_norm import SpectralNorm

# Modules that vmap cannot lift: `vectorize: auto` does not try.
NOT_LIFTED = (nn.RNNBase, nn.RNNCellBase)


def power_iterated(module: nn.Module) -> list[nn.Module]:
    """The parts whose mode decides whether spectral_norm, of either API, improves its singular vectors in a pass.

    These vectors are buffers, and constants to autograd, which is wrong where they follow the weights; so in an inner loop
    they stay as they are in theta.
    """
    return [
        part
        for part in module.modules()
        if isinstance(part, parametrizations._SpectralNorm)
        or any(isinstance(hook, SpectralNorm) for hook in part._forward_pre_hooks.values())
    ]


def layer_norm(
    x: Tensor, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    return affine(standard(x, range(-len(normalized_shape), 0), eps), weight, bias).to(x.dtype)


def instance_norm(
    x: Tensor,
    running_mean: Tensor | None = None,  # noqa: ARG001  an instance is normalised by itself always
    running_var: Tensor | None = None,  # noqa: ARG001
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,  # noqa: ARG001
    momentum: float = 0.1,  # noqa: ARG001
    eps: float = 1e-5,
) -> Tensor:
    return affine(standard(x, range(2, x.ndim), eps), channels(weight, x), channels(bias, x)).to(x.dtype)


def weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """g v / ||v||, the norm over all axes but `dim`, or over all for -1."""
    axes = [axis for axis in range(v.ndim) if dim == -1 or axis != dim]
    long = wide(v)
    return (long * (wide(g) / long.square().sum(axes, keepdim=True).sqrt())).to(v.dtype)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    found = (input + 3).clamp(0, 6) / 6
    return input.copy_(found) if inplace else found


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: None = None) -> Tensor:  # noqa: ARG001
    return input / norm(input, p, dim).clamp_min(eps)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    lengths = norm(x1, 2.0, dim).clamp_min(eps) * norm(x2, 2.0, dim).clamp_min(eps)
    return ((x1 * x2).sum(dim, keepdim=True) / lengths).squeeze(dim)


def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str | None = None) -> Tensor:  # noqa: ARG001
    return norm(x1.unsqueeze(-2) - x2.unsqueeze(-3), p, -1).squeeze(-1)


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    i, j = torch.triu_indices(len(input), len(input), 1, device=input.device)
    return norm(input[i] - input[j], p, -1).squeeze(-1)


def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    at = torch.tensor([index], device=input.device)
    return torch.where(rows_at(input, dim, at), src.unsqueeze(dim), input)


def index_fill(input: Tensor, dim: int, index: Tensor, value: Tensor | float) -> Tensor:
    return torch.where(rows_at(input, dim, index), value, input)


def rows_at(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """A mask that is true at these indices of an axis, shaped to broadcast over x."""
    n = x.shape[dim]
    among = (torch.arange(n, device=x.device)[:, None] == index.reshape(-1) % n).any(1)
    return among.reshape([-1 if axis == dim % x.ndim else 1 for axis in range(x.ndim)])


def norm(x: Tensor, p: float, dim: int) -> Tensor:
    """The p-norm over an axis, which is kept; for a zero vector all its derivatives are zero."""
    zero = (x == 0).all(dim, keepdim=True)
    return torch.where(zero, 0, torch.linalg.vector_norm(torch.where(zero, 1, x), p, dim, keepdim=True))


# A wrong second derivative: _weight_norm (of plain autograd too), layer and instance norm, select_scatter and index_fill
# (under vmap). NaN for a zero vector: normalize, cosine_similarity. None at all: hardsigmoid, cdist, pdist.
CORRECTIONS: dict[Callable[..., Any], Callable[..., Tensor]] = {
    F.layer_norm: layer_norm,
    F.instance_norm: instance_norm,
    torch._weight_norm: weight_norm,  # type: ignore[attr-defined]
    F.hardsigmoid: hardsigmoid,
    F.normalize: normalize,
    F.cosine_similarity: cosine_similarity,
    torch.cdist: cdist,
    F.pdist: pdist,
    torch.select_scatter: select_scatter,
    Tensor.select_scatter: select_scatter,
    torch.index_fill: index_fill,
    Tensor.index_fill: index_fill,
}


def standard(x: Tensor, axes: Iterable[int], eps: float) -> Tensor:
    """x with mean 0 and variance 1 over `axes`."""
    long = wide(x)
    var, mean = torch.var_mean(long, list(axes), correction=0, keepdim=True)
    return (long - mean) * torch.rsqrt(var + eps)


def affine(y: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def wide(x: Tensor) -> Tensor:
    """x in float32 or float64, in which statistics of half precision are computed."""
    return x if x.dtype == torch.float64 else x.float()


@overload
def channels(v: Tensor, x: Tensor) -> Tensor: ...
@overload
def channels(v: Tensor | None, x: Tensor) -> Tensor | None: ...
def channels(v: Tensor | None, x: Tensor) -> Tensor | None:
    """A vector over channels [c], shaped to broadcast over x: [n, c, ...]."""
    return None if v is None else v.reshape(1, -1, *[1] * (x.ndim - 2))
