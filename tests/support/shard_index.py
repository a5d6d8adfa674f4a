"""An index changed by hand, with the checksums that it would have."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.index.columns import write_columns
from datamodules.index.header import KINDS, SPLIT

Columns = dict[str, NDArray[Any]]


def signed(index: dict[str, Any]) -> str:
    """Its text. `index` is what the file holds."""
    body = json.dumps({name: value for name, value in index.items() if name not in ("version", "sha256")})[1:]
    return f'{{"version": 3, "sha256": "{hashlib.sha256(body.encode()).hexdigest()}",\n{body}'


def columns_of(folder: Path) -> Columns:
    """All columns of an index, copied."""
    data, head = (folder / "index.columns").read_bytes(), json.loads((folder / "index.json").read_text())
    columns = Columns()
    for name, (start, rows) in head["columns"].items():
        kind, row = KINDS.get(name, SPLIT)
        columns[name] = np.ndarray((rows, *row), kind, data, start).copy()
    return columns


def rewrite(folder: Path, change: Callable[[Columns], Any]) -> None:
    """Change columns of an index and write it again as its writer would."""
    columns, head = columns_of(folder), json.loads((folder / "index.json").read_text())
    change(columns)
    head["columns"], head["size"], head["checksums"] = write_columns(folder / "index.columns", columns)
    (folder / "index.json").write_text(signed(head))
