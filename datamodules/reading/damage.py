"""The error that `on_error: skip` passes over."""

from lightning_meta.core import InputError


class DamageError(InputError):
    """Bytes that exist but are not what they should be. A failing network or disk is not damage, but an InputError."""
