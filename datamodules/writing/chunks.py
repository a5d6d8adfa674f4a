"""The classes of a set, read or drawn some at a time in several processes, and kept until the set is whole."""

import hashlib
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from datamodules.reading.processes import in_processes
from datamodules.writing.kept import keep_parts
from lightning_meta.core.files import storage_errors, write_json

Class = TypeVar("Class")
Arrays = Mapping[str, NDArray[Any]]
SOFTWARE = ("lightning-meta", "numpy", "pillow")  # another version may draw or decode other pixels
SETTINGS = "settings.json"


@contextmanager
def keep_chunks(out: Path, **settings: object) -> Iterator[Path]:
    """Make the folder `OUT.chunks.partial` of what is read or drawn for a set, which goes when the set is whole.

    After a kill, a signal or an error it stays, and the same command continues from it. With other settings, or other
    versions of the software, it is begun anew, and a line says why.

    Args:
        out: The set to write.
        settings: All that the images depend on, apart from the sources that `in_chunks` is given.

    Yields:
        The folder of the chunks, for `in_chunks`.

    Raises:
        InputError: If another process is writing the same set, or the folder cannot be written.
    """
    with keep_parts(out, out.with_name(f"{out.name}.chunks.partial"), "chunks", "unfinished") as folder:
        chunks, note = folder / "chunks", folder / SETTINGS
        given = json.loads(json.dumps(settings | {name: version(name) for name in SOFTWARE}, default=str))
        before = _settings(note)
        if before != given:
            if any(chunks.glob("*.npz")):
                other = [name for name in {**given, **before} if given.get(name) != before.get(name)]
                print(f"starting anew: what {folder} keeps was made with other settings ({', '.join(other)})")
            shutil.rmtree(chunks)
            chunks.mkdir()
            write_json(note, given)
        yield chunks


def in_chunks(
    function: Callable[[list[Class]], Arrays],
    chunks: Sequence[list[Class]],
    states: Sequence[object],
    folder: Path,
    processes: int | None,
) -> Iterator[Arrays]:
    """Yield what `function` returns for each chunk of classes, in order, and keep it in a folder.

    Args:
        function: A function of a module, called in other processes with a list of classes; it returns arrays by name.
        chunks: The classes, some at a time.
        states: For each chunk, something whose text changes when the sources of its classes change.
        folder: The folder that `keep_chunks` makes.
        processes: Number of processes; by default one for each core.

    Raises:
        InputError: If a process ended before its work was done.
    """
    names = [f"{n:06d}-{_digest(parts)}.npz" for n, parts in enumerate(zip(chunks, states, strict=True))]
    there = {path.name for path in folder.glob("*.npz")}
    if other := there - set(names):
        print(f"{len(other)} of {len(there)} parts that were kept are made anew: their sources have changed")
        for name in other:
            (folder / name).unlink()
    if done := sum(len(chunk) for chunk, name in zip(chunks, names, strict=True) if name in there):
        print(f"going on at class {done + 1} of {sum(map(len, chunks))}: the others are kept in {folder.parent}")
    work = [(chunk, folder / name) for chunk, name in zip(chunks, names, strict=True)]
    for path in in_processes(partial(_make, function), work, processes, f"parts of about {len(chunks[0])} classes"):
        with np.load(path) as arrays:
            yield dict(arrays)


def chunked(classes: Sequence[Class], size: int) -> list[list[Class]]:
    """Return the classes in lists of a size; the last one may be shorter."""
    left = iter(classes)
    return list(iter(lambda: list(islice(left, size)), []))


def _make(function: Callable[[list[Class]], Arrays], work: tuple[list[Class], Path]) -> Path:
    classes, path = work
    if not _is_whole(path):
        arrays, aside = function(classes), path.with_suffix(".aside")
        with storage_errors(path.parent.parent):
            with aside.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
    return path


def _is_whole(path: Path) -> bool:
    """Return whether a file is there whose checksums are right."""
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip() is None
    except (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile):
        return False


def _settings(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _digest(parts: tuple[object, ...]) -> str:
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]
