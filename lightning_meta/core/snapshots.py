"""Copies and comparisons of nested tensors and arrays, to find out whether a call has changed them."""

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor


def copy_of(value: Any) -> Any:
    """Copy the tensors and arrays in a nested value."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, (tuple, list)):
        return [copy_of(part) for part in value]
    return {key: copy_of(part) for key, part in value.items()} if isinstance(value, dict) else value


def write_counts(value: Any) -> Any:
    """Return how often PyTorch has counted in-place writes to each tensor.

    Values alone do not show every write: they may stay the same if something is added to a large number, or clamped.
    """
    if isinstance(value, Tensor):
        return 0 if value.is_inference() else value._version
    if isinstance(value, (tuple, list)):
        return [write_counts(part) for part in value]
    return {key: write_counts(part) for key, part in value.items()} if isinstance(value, dict) else 0


def row(value: Any, index: int) -> Any:
    """Return one slot of a nested batch."""
    if isinstance(value, (Tensor, np.ndarray)):
        return value[index]
    return [row(part, index) for part in value] if isinstance(value, (tuple, list)) else None


def equal(one: Any, other: Any, tolerance: dict[str, float] | None = None) -> bool:
    """Return whether tensors and arrays are equal bit for bit, or within a tolerance. NaN equals NaN."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        comparable = one.shape == other.shape and one.dtype == other.dtype
        if tolerance and comparable:
            return torch.allclose(one.double(), other.double(), **tolerance, equal_nan=True)
        return comparable and bool(((one == other) | ((one != one) & (other != other))).all())
    if isinstance(one, np.ndarray):
        return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))
    if isinstance(one, (tuple, list)) and isinstance(other, (tuple, list)):
        return len(one) == len(other) and all(equal(a, b, tolerance) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key], tolerance) for key in one)
    plain = (int, float, complex, str, bytes, type(None))
    return one == other if isinstance(one, plain) else type(one) is type(other)  # other objects cannot be compared


def generator_states() -> list[Any]:
    """Return the states of the global random generators that any code can draw from."""
    return [torch.get_rng_state(), np.random.get_state(), hash(random.getstate())]
