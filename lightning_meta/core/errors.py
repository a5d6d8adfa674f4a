"""Errors that a user can correct, and a check that many arguments share."""


class InputError(ValueError):
    """A mistake in what the user gave.

    The message says what was given, what is legal and what to do. The command line prints the message without a traceback.
    """


def check_positive(**values: int) -> None:
    """Raise InputError if one of the named values is less than 1."""
    for name, value in values.items():
        if value < 1:
            raise InputError(f"{name} is {value}: give 1 or more")
