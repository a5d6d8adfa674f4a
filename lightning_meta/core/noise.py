"""Random numbers as a pure function of their purpose.

The numbers of a task are therefore the same by itself and in any batch, on one process and on many, on a CPU and on a GPU.
"""

import zlib

import torch
from jaxtyping import Float, Int
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # 2**64 / the golden ratio, as a signed number
MIX = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64


def uniform(seeds: Int[Tensor, " tasks"], purpose: str, *shape: int) -> Float[Tensor, "tasks *shape"]:
    """Return uniform numbers in the open interval (0, 1), independent between seeds, purposes and places: [tasks, *shape].

    The generator is SplitMix64 (Steele, Lea and Flood. Fast Splittable Pseudorandom Number Generators. OOPSLA 2014).
    """
    start = _mix(_mix(seeds) ^ zlib.crc32(purpose.encode()))
    steps = GOLDEN * torch.arange(1, torch.Size(shape).numel() + 1, device=seeds.device)
    bits = _shifted(_mix(start.unsqueeze(1) + steps), 41)  # the 23 highest: a float holds the middle of its step
    return ((bits.float() + 0.5) / 2**23).reshape(len(seeds), *shape)


def numbered(name: int, places: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Return one 64-bit number per place in the sequence called `name`, each a pure function of its place."""
    return _mix(places * GOLDEN + name)


def _mix(z: Tensor) -> Tensor:
    """Apply a bijection of 64-bit numbers that mixes all bits; products of int64 tensors wrap around."""
    z = (z ^ _shifted(z, 30)) * MIX[0]
    z = (z ^ _shifted(z, 27)) * MIX[1]
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, bits: int) -> Tensor:
    """Shift unsigned numbers right; the shift of torch keeps the sign."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
