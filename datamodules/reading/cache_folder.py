"""The folder where copies of remote files are kept."""

import os
from pathlib import Path


def cache_folder(folder: str | None = None) -> Path:
    """Return the given folder, or LIGHTNING_META_CACHE, or ~/.cache/lightning-meta."""
    return Path(folder or os.environ.get("LIGHTNING_META_CACHE", "~/.cache/lightning-meta")).expanduser()
