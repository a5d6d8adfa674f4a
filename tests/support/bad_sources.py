"""Bad sources of `lightning-meta shards index`: how one is made, and the one line that it must give."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datamodules.scanning.index_sources import index_sources
from lightning_meta.core import InputError

Make = Callable[[Path], Any]


class Case:
    """A bad source: what makes it in a folder, its name or address, the message, and options of the command."""

    def __init__(self, make: Make, source: str, message: str, **options: Any):
        self.make, self.source, self.message, self.options = make, source, message, options

    def check(self, folder: Path) -> None:
        """It is refused in one line, nothing is half-written, and nothing is left but what was scanned and is named."""
        self.make(folder)
        before = sorted(folder.rglob("*"))
        place = self.source if "://" in self.source else f"{folder}/{self.source}"
        split = {"split": folder / self.options["split"]} if "split" in self.options else {}
        with pytest.raises(InputError, match=self.message) as raised:
            index_sources([place], folder / "out", **{"size": 8} | self.options | split)
        assert "\n" not in str(raised.value)
        left = {path for path in folder.rglob("*") if path not in before}
        assert not left or (folder / "out.partial" / "scans" in left and "is kept in" in str(raised.value))


def text(name: str, content: str | bytes) -> Make:
    """A file of this name and content."""
    return lambda path: (path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
