"""The result of scanning one source: a column of each fact about its images, and the distinct classes among them."""

import json
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.index.verification import is_text
from lightning_meta.core import InputError
from lightning_meta.core.files import whole

LONGEST = 1000  # characters of the name of a class


class ClassKey(NamedTuple):
    """A class as a source names it: its label, and the split and the group that stand beside it, or empty."""

    label: str
    split: str = ""
    group: str = ""


class Passed(NamedTuple):
    """Things of one kind that were passed over: their number, and the first of them."""

    count: int  # type: ignore[assignment]  # hides a tuple's method of this name, which is not needed
    first: str


class Scanned(NamedTuple):
    """The images of a source, as columns in the order in which they lie there.

    classes: the distinct classes.
    number: for each image its number in `classes`, uint32.
    offset: where its bytes begin in the source, or its place in a parquet file (`parquet_pages.place_of`), uint64.
    bytes: its length, uint64.
    crc32: the CRC-32 of its bytes, uint32.
    passed: what was passed over, by its kind.
    state: the state of the source, its size and time for example, as text.
    """

    classes: list[ClassKey]
    number: NDArray[np.uint32]
    offset: NDArray[np.uint64]
    bytes: NDArray[np.uint64]
    crc32: NDArray[np.uint32]
    passed: dict[str, Passed]
    state: str

    def save(self, path: Path) -> None:
        """Write the columns to a file, whole or not at all."""
        about = {"classes": self.classes, "passed": self.passed, "state": self.state}
        text = np.frombuffer(json.dumps(about).encode(), np.uint8)
        with whole(path) as aside:
            np.savez(aside, about=text, number=self.number, offset=self.offset, bytes=self.bytes, crc32=self.crc32)

    @staticmethod
    def load(path: Path) -> "Scanned":
        """Read what `save` wrote."""
        with path.open("rb") as file, np.load(file) as columns:
            about: dict[str, Any] = json.loads(columns["about"].tobytes())
            return Scanned(
                classes=[ClassKey(*key) for key in about["classes"]],
                number=columns["number"],
                offset=columns["offset"],
                bytes=columns["bytes"],
                crc32=columns["crc32"],
                passed={kind: Passed(count, first) for kind, (count, first) in about["passed"].items()},
                state=about["state"],
            )


class Columns:
    """Columns that grow by one image at a time, without an object for each.

    Args:
        source: Path or URL of the source, for messages.
    """

    def __init__(self, source: str):
        self.source = source
        self.classes: dict[ClassKey, int] = {}
        self.number, self.offset, self.bytes, self.crc32 = array("I"), array("Q"), array("Q"), array("I")
        self.passed: dict[str, Passed] = {}

    def class_number(self, key: ClassKey) -> int:
        """Return the number of a class; raise InputError if a name in it cannot be the name of a class."""
        number = self.classes.get(key)
        if number is None:
            for name in filter(None, key):
                check_name(name, self.source)
            number = self.classes[key] = len(self.classes)
        return number

    def add(self, number: int, offset: int, size: int, crc32: int) -> None:
        """Add an image of a class."""
        self.number.append(number)
        self.offset.append(offset)
        self.bytes.append(size)
        self.crc32.append(crc32)

    def pass_over(self, kind: str, name: str) -> None:
        """Count something that is not an image with a label."""
        count, first = self.passed.get(kind, (0, f"{name} in {self.source}"))
        self.passed[kind] = Passed(count + 1, first)

    def scanned(self, state: str) -> Scanned:
        """Return the columns as arrays."""
        return Scanned(
            classes=list(self.classes),
            number=np.array(self.number, np.uint32),
            offset=np.array(self.offset, np.uint64),
            bytes=np.array(self.bytes, np.uint64),
            crc32=np.array(self.crc32, np.uint32),
            passed=self.passed,
            state=state,
        )


def check_name(name: str, source: str) -> None:
    """Raise InputError if a label cannot be the name of a class: it is not text in one line, or a relative path's dots."""
    if not is_text(name) or not name or name in (".", "..") or len(name) > LONGEST:
        raise InputError(
            f"a label in {source} is {name[:50]!r}, which cannot be the name of a class: give text in one line, of up to"
            f" {LONGEST} characters"
        )


def add_up(each: Iterable[dict[str, Passed]]) -> dict[str, Passed]:
    """Return what several sources passed over, together."""
    total: dict[str, Passed] = {}
    for passed in each:
        for kind, (count, first) in passed.items():
            before = total.get(kind, Passed(0, first))
            total[kind] = Passed(before.count + count, before.first)
    return total
