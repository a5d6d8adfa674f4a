"""Packages that a command needs and that pip installs on request."""

import importlib.util
import sys

from lightning_meta.core import InputError

EXTRAS = {"search": ("ray",)}


def need(extra: str, only_say: bool) -> None:
    """InputError, or with `only_say` a line, where a package of an extra is not installed. Imports none of them."""
    missing = [name for name in EXTRAS[extra] if importlib.util.find_spec(name) is None]
    if not missing:
        return
    message = f"tune needs {' and '.join(missing)}, not installed here: pip install 'lightning-meta[{extra}]'"
    if not only_say:
        raise InputError(message)
    print(message, file=sys.stderr)
