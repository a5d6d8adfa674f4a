"""Logs that a job writes into its folder, log.txt or log-NUMBER.txt per run of an array."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path


def tail(folder: Path, ended: Callable[[], bool], follow: bool, pause: float = 0.5) -> Iterator[str]:
    """Yield the lines of a job's logs, preceded by the file's number if there are several.

    Args:
        folder: The job's folder.
        ended: Returns whether the job has ended.
        follow: Whether to continue until the job has ended and everything is read.
        pause: Seconds between two looks.
    """
    positions: dict[Path, int] = {}
    while True:
        last = not follow or ended()  # asked before reading, so that everything written until then is read
        paths = sorted(folder.glob("log*.txt"), key=lambda path: (len(path.name), path.name))
        for path in paths:
            with path.open("rb") as file:
                file.seek(positions.get(path, 0))
                text = file.read()
            whole = len(text) if last else text.rfind(b"\n") + 1
            positions[path] = positions.get(path, 0) + whole
            label = f"[{path.stem.removeprefix('log-')}] " if len(paths) > 1 else ""
            for line in text[:whole].decode(errors="replace").splitlines():
                yield label + line
        if last:
            return
        time.sleep(pause)
