"""Errors that a user can correct, and a check that many arguments share."""


class InputError(ValueError):
    """A mistake in what the user gave.

    The message says what was given, what is legal and what to do. The command line prints the message without a traceback.
    """


def check_at_least(least: int, **values: int) -> None:
    """Raise InputError if one of the named values is less than `least`."""
    for name, value in values.items():
        if value < least:
            raise InputError(f"{name} is {value}: give {least} or more")
