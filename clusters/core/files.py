"""Files of a job's folder: written whole or not at all, and read with suspicion."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from clusters.core.job import JobError

LARGEST = 2**20  # bytes of a JSON file


def write_whole(path: Path, text: str, mode: int = 0o600) -> None:
    """Write text to a file aside, then rename it.

    Raises:
        JobError: The disk is full or cannot be written to; nothing half-written is left.
    """
    aside = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
            file.write(text)
        aside.replace(path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink()
        raise JobError(
            f"{path} cannot be written ({error.strerror}): make room, or set LIGHTNING_META_JOBS to another folder"
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the keys and values of a JSON file; a file that does not exist has none.

    Raises:
        JobError: The file is broken, too large or not a file.
    """
    if not path.exists():
        return {}
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            raise JobError(f"{path} is not a file of a job: remove it")
        facts = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, JobError):
            raise
        raise JobError(f"{path} cannot be read ({error}): remove its folder, or repair it") from error
    if not isinstance(facts, dict):
        raise JobError(f"{path} is not what a job writes there: remove its folder, or repair it")
    return facts
