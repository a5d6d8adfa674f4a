"""Find where a run starts or resumes, and where the results of a checkpoint belong."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from lightning_meta.core import InputError
from lightning_meta.training.run_folder import RunFolder, claim, home, is_first_process, locate, run_of, version

FOLDER = "LIGHTNING_META_FOLDER"  # tells the processes that this one starts where its run is


@contextmanager
def telling_further_processes() -> Iterator[None]:
    """Let the processes that a run starts know its folder, and the next run of this process not."""
    try:
        yield
    finally:
        os.environ.pop(FOLDER, None)


class Start(NamedTuple):
    """The start of a run: from nothing, from the state in `checkpoint`, or, where it `goes_on`, in the folder that this lies
    in. `asked` tells whether the user said so; otherwise a scheduler starts a job again."""

    folder: RunFolder | None  # None: one that is still to be made
    checkpoint: Path | None
    goes_on: bool = False
    asked: bool = True

    def made(self, trainer: Any) -> RunFolder:
        """The folder, made by the first process of the run. InputError where it holds a run already."""
        where = home(trainer)
        if not is_first_process():
            return self.folder or RunFolder(Path(os.environ.get(FOLDER, where)))
        folder = self.folder.make() if self.folder else claim(where)
        os.environ[FOLDER] = str(folder.path)
        return folder


def start_of_fit(asked: str | None, trainer: Any, job: str | None) -> Start:
    """A run continues in its folder from its last checkpoint; from any other checkpoint a new run begins. A `job` of a
    scheduler has a folder of its name and continues there when it is started again."""
    where = home(trainer)
    if job:
        folder = RunFolder(where / job)
        if folder.last.is_file():
            return Start(folder, folder.last, goes_on=True, asked=False)
        return Start(folder, locate(asked, where, "last"), asked=not folder.config.is_file())
    found = locate(asked, where, "last")
    run = run_of(found) if found else None
    if found and run and found.resolve() == run.last.resolve():
        return Start(run, found, goes_on=True)
    name = version(trainer)
    if name is None:
        return Start(None, found)
    folder = RunFolder(where / name)
    if folder.path.is_dir() and any(folder.path.iterdir()):
        raise InputError(
            f"{folder.path} holds a run already: give another version, or continue it with --ckpt_path {folder.path}"
        )
    return Start(folder, found)


def results_of(checkpoint: Path, trainer: Any) -> RunFolder:
    """Return the folder for the results of a checkpoint: that of its run or, if it belongs to none, DIR/NAME beside
    DIR/NAME.ckpt. If that is not writable, a new folder among the runs of this name."""
    run = run_of(checkpoint) or RunFolder(checkpoint.with_suffix(""))
    there = next(path for path in (run.path, *run.path.absolute().parents) if path.exists())
    if os.access(there, os.W_OK):
        return run
    digest = hashlib.sha256(str(checkpoint.resolve()).encode()).hexdigest()[:8]
    return RunFolder(home(trainer) / f"{checkpoint.stem}-{digest}")
