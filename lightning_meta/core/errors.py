"""What goes wrong by a user's hand."""


class InputError(ValueError):
    """A user's mistake. The message says what came, what is legal and what to do; the command line prints it alone."""


def check_at_least(least: int, **values: int) -> None:
    """Raise InputError if one of the named values is less than `least`."""
    for name, value in values.items():
        if value < least:
            raise InputError(f"{name} is {value}: give {least} or more")
