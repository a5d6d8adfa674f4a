"""A folder beside what is written, for the finished parts of long work, from which the same command continues."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lightning_meta.core import InputError
from lightning_meta.core.files import make_parent, remove, storage_errors


@contextmanager
def keep_parts(out: Path, partial: Path, parts: str, unfinished: str) -> Iterator[Path]:
    """Make the folder of what is kept, and remove it at the end, unless an error leaves something to continue from.

    Args:
        out: What is written; its parent folder is made.
        partial: The folder of what is kept.
        parts: Name of the folder in it that holds a file `*.npz` for each finished part.
        unfinished: Name of a folder in it that is never continued.

    Yields:
        `partial`.

    Raises:
        InputError: If another process is writing the same, or the folder cannot be written.
    """
    finished = partial / parts
    with storage_errors(out):
        made = make_parent(out)
        if partial.exists() and not finished.is_dir():  # left by another kind of writer
            shutil.rmtree(partial)
        finished.mkdir(parents=True, exist_ok=True)
        with (partial / "lock").open("w") as lock:
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock, it is not the lock of the workers too
            except (BlockingIOError, PermissionError) as error:
                raise InputError(f"another process is writing {out}: wait for it, or choose another --out") from error
            shutil.rmtree(partial / unfinished, ignore_errors=True)
            try:
                yield partial
            except BaseException as error:
                shutil.rmtree(partial / unfinished, ignore_errors=True)
                if not any(finished.glob("*.npz")):
                    shutil.rmtree(partial, ignore_errors=True)
                    with suppress(OSError):
                        remove(made)
                elif isinstance(error, InputError):
                    raise InputError(
                        f"{error}. What was {WORDS[parts]} is kept in {partial}: the same command continues"
                    ) from error
                raise
            shutil.rmtree(partial, ignore_errors=True)


WORDS = {"scans": "scanned", "chunks": "read or drawn"}
