"""A measurement, for any function of a batch, of whether its output for a row depends on the other rows."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Rows(NamedTuple):
    """Measured properties of a function of a batch."""

    mixed: bool  # its output for a row depends on the other rows
    noisy: bool  # its output for the same batch changes from call to call


def measure_rows(function: Callable[[Tensor], Tensor], rows: Tensor) -> Rows:
    """Measure whether a function from [n, *shape] to [n, *out] mixes n >= 2 rows, and whether it is noisy.

    The outputs for the first and for the last row are compared with those where all other rows are replaced by it, with the
    same random numbers, and where there are no other rows. A function of each row alone gives the same in the first
    comparison except for rounding, bit for bit as a rule, and in the second, which is a batch of another shape, the same to
    half of the digits. (A noisy function draws other numbers for another shape.) A function that refuses a single row mixes
    them. The random numbers of the caller stay as they are; nothing is autocast.
    """

    def call(x: Tensor, seed: int = 0) -> Tensor:
        own_noise = torch.random.fork_rng(devices=[x.device] if x.is_cuda else [])
        with own_noise, torch.autocast(x.device.type, enabled=False):
            torch.manual_seed(seed)
            return function(x)

    together = call(rows)
    digits = torch.finfo(together.dtype).eps
    noisy = differ(call(rows, seed=1), together, 4 * digits)
    for i in (0, len(rows) - 1):
        alike = call(rows[i : i + 1].expand_as(rows).contiguous())
        if differ(alike[i], together[i], 4 * digits):
            return Rows(True, noisy)
    if noisy:
        return Rows(False, noisy)
    try:
        alone = call(rows[:1])
    except (RuntimeError, ValueError):
        return Rows(True, noisy)
    return Rows(differ(alone[0], together[0], digits**0.5), noisy)


def differ(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Return whether two tensors differ by more than `tolerance` times the largest value of b."""
    largest = max(1e-30, float(b.detach().abs().nan_to_num().max()))
    return not torch.allclose(a, b, rtol=0, atol=tolerance * largest, equal_nan=True)
