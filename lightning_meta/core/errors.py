"""What goes wrong by a user's hand."""


class InputError(ValueError):
    """A user's mistake. The message says what came, what is legal and what to do; the command line prints it alone."""
