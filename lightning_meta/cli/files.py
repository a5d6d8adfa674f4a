"""Files that are there whole or not at all."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A place beside `path` to write to, moved to it when the block ends without an error. Makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.stem}.partial{path.suffix}")  # the ending tells a plotter the format
    yield aside
    aside.replace(path)


def write_json(path: Path, value: Any, indent: int | None = None) -> None:
    """JSON has no nan and no infinity: they become null."""
    with whole(path) as aside:
        aside.write_text(json.dumps(_finite(value), indent=indent, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
