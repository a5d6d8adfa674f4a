"""How the rows of a batch depend on one another: measured, for any function of them."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Rows(NamedTuple):
    """What was measured of a function of a batch."""

    mixed: bool  # what it makes of a row depends on the rows beside it
    noisy: bool  # what it makes of the same batch differs from call to call


def measure_rows(function: Callable[[Tensor], Tensor], rows: Tensor) -> Rows:
    """Call `function`, from [n, *shape] to [n, *out], on n >= 2 rows, and see what becomes of the first and of the last one:
    where all others are replaced by it, with the same random numbers, and where there are no others.

    Of a function of each row alone the former gives the same but for rounding, bit for bit as a rule; the latter, in a batch
    of another shape, the same to half of the digits. (A noisy function draws other numbers for another shape.) A function
    that refuses a single row mixes them. The random numbers of the caller stay as they are; nothing is autocast.
    """

    def call(x: Tensor, seed: int = 0) -> Tensor:
        luck = torch.random.fork_rng(devices=[x.device] if x.is_cuda else [])
        with luck, torch.autocast(x.device.type, enabled=False):
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
    """Whether two tensors differ by more than `tolerance` of what is largest in them."""
    largest = max(1e-30, float(b.detach().abs().nan_to_num().max()))
    return not torch.allclose(a, b, rtol=0, atol=tolerance * largest, equal_nan=True)
