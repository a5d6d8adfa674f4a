"""What `on_error: skip` passes over."""

from lightning_meta.core import InputError


class DamageError(InputError):
    """Bytes that are there and are not what they should be. A network or a disk that fails is none of it."""
