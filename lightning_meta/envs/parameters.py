"""Physical parameters of tasks that are uniform in a range."""

from jaxtyping import Float, Int
from torch import Tensor

from lightning_meta.core import InputError, uniform


def uniform_between(limits: tuple[float, float], seeds: Int[Tensor, " tasks"], name: str) -> Float[Tensor, " tasks"]:
    """Return one value per task, uniform between two limits. The name of the parameter names the random numbers."""
    return limits[0] + (limits[1] - limits[0]) * uniform(seeds, name)


def check_lengths(lengths: tuple[float, float]) -> None:
    """Raise InputError unless these are two positive limits in order."""
    if not 0 < lengths[0] <= lengths[1]:
        raise InputError(f"lengths is {lengths}: give two numbers above 0, the smaller first")
