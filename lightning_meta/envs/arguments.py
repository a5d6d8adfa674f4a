"""What the arguments of worlds have in common."""

from lightning_meta.core import InputError


def at_least_one(**numbers: int) -> None:
    """Raise InputError naming the numbers that are less than 1."""
    short = {name: number for name, number in numbers.items() if number < 1}
    if short:
        raise InputError(f"{', '.join(f'{name} {number}' for name, number in short.items())}: give 1 or more")
