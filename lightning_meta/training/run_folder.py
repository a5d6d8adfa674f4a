"""The folder of a run, `save_dir/NAME/version_N`: decided before anything is built, whatever logs the run.

config.yaml          the resolved configuration; of a run that went on with changed settings also the earlier ones,
                     config.until_step_500.yaml
checkpoints/         best.ckpt, last.ckpt
meta_test_*.json     results
events*, metrics.csv curves, of the loggers that write files
"""

import inspect
import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

from lightning_meta.core import InputError
from lightning_meta.core.files import storage_errors, whole
from lightning_meta.nn.build import find


class RunFolder:
    """A run's folder. `made` are the folders that were made for it, which `abandon` takes away again."""

    def __init__(self, path: Path, made: tuple[Path, ...] = ()):
        self.path, self.made = path, made
        self.checkpoints, self.config = path / "checkpoints", path / "config.yaml"
        self.last, self.best = self.checkpoints / "last.ckpt", self.checkpoints / "best.ckpt"

    def make(self) -> "RunFolder":
        """The same folder, there. InputError where it cannot be made."""
        with storage_errors(self.path):
            missing = tuple(path for path in (self.path, *self.path.parents) if not path.exists())
            self.path.mkdir(parents=True, exist_ok=True)
        return RunFolder(self.path, missing)

    def abandon(self) -> None:
        """Take away what was made and is empty: the run did not come to begin."""
        for path in self.made:
            with suppress(OSError):
                path.rmdir()

    def keep_config(self, text: str, step: int) -> None:
        """Write the configuration that trains from `step` on; another one, which trained until then, is kept beside it."""
        if self.config.is_file() and (earlier := self.config.read_bytes()) != text.encode():
            with whole(self.path / f"config.until_step_{step}.yaml") as aside:
                aside.write_bytes(earlier)
        with whole(self.config) as aside:
            aside.write_text(text)


def claim(home: Path) -> RunFolder:
    """A new folder `home/version_N`. Of runs that start at once each gets its own. InputError where none can be made."""
    with storage_errors(home):
        missing = tuple(path for path in (home, *home.parents) if not path.exists())
        home.mkdir(parents=True, exist_ok=True)
        for number in count(max(versions(home), default=-1) + 1):
            path = home / f"version_{number}"
            with suppress(FileExistsError):
                path.mkdir()
                return RunFolder(path, (path, *missing))
    raise AssertionError("count has no end")


def versions(home: Path) -> list[int]:
    """The numbers of the versions there are."""
    numbers = (path.name.removeprefix("version_") for path in home.glob("version_*"))
    return [int(number) for number in numbers if number.isdecimal()]


def is_first_process() -> bool:
    """Return whether this is the first process of a run launched by Lightning, torchrun or a scheduler."""
    rank: int = rank_zero_only.rank  # type: ignore[attr-defined]  # Lightning keeps it there
    return rank == 0 and os.environ.get("NODE_RANK", "0") == "0"


def run_of(checkpoint: str | Path) -> RunFolder | None:
    """The run that a checkpoint lies in, RUN/checkpoints/FILE.ckpt; None where it lies in none."""
    folder = Path(checkpoint).resolve().parent
    if folder.name != "checkpoints":
        return None
    return RunFolder(Path(checkpoint).parent.parent if Path(checkpoint).parent.name == folder.name else folder.parent)


def locate(asked: str | None, home: Path, name: str) -> Path | None:
    """The checkpoint that `--ckpt_path` means: `best` or `last` of the newest run below `home` that has one, `name`.ckpt of
    a run's folder, or a file. InputError where there is none."""
    if asked is None:
        return None
    if asked in ("best", "last"):
        found = sorted(home.glob(f"*/checkpoints/{asked}.ckpt"), key=lambda path: path.stat().st_mtime)
        if found:
            return found[-1]
        raise InputError(
            f"no {asked} checkpoint below {home}: run `lightning-meta fit` with the same --config files first"
        )
    path = Path(asked)
    if not path.is_dir():
        return path
    inside = [path / "checkpoints" / f"{name}.ckpt", path / f"{name}.ckpt"]
    for file in inside:
        if file.is_file():
            return file
    raise InputError(
        f"{path} is a folder without {inside[0].relative_to(path)}: give a run's folder, or a checkpoint file"
    )


def home(trainer: Any) -> Path:
    """Return the folder that holds the versions of a run: `save_dir/name` of the first logger that has a save_dir, as in
    Lightning, otherwise `default_root_dir`, whose last part is the run's name."""
    default = Path(trainer.get("default_root_dir") or "runs/run")
    for logger in loggers(trainer):
        save_dir, name = logger_attribute(logger, "save_dir"), logger_attribute(logger, "name")
        if save_dir is not None:
            return Path(save_dir, default.name if name is None else name)
    return default


def version(trainer: Any) -> str | None:
    """Return the name of the run's folder according to the first logger that has a version."""
    given = next(
        filter(lambda v: v is not None, (logger_attribute(logger, "version") for logger in loggers(trainer))), None
    )
    return f"version_{given}" if isinstance(given, int) else given


def loggers(trainer: Any) -> Iterator[Any]:
    """The descriptions of the loggers, of which there may be one, several or none."""
    given = trainer.get("logger")
    for logger in given if isinstance(given, list) else [given]:
        if logger is not None and not isinstance(logger, bool):
            yield logger


def logger_attribute(logger: Any, name: str) -> Any:
    """An argument of a logger's description, None where it is the default of its class."""
    value = (logger.get("init_args") or {}).get(name)
    legal = inspect.signature(find(logger["class_path"])).parameters
    return None if name in legal and legal[name].default == value else value


def place(
    trainer: Any, folder: RunFolder, purge_step: int | None = None, job: str | None = None, name: str | None = None
) -> None:
    """Let the loggers that write files, TensorBoard's and CSVLogger, write into the run's folder; those with another
    save_dir, into a folder of the run's name there. A CSVLogger deletes the metrics.csv that it finds: where there is
    one, it gets a folder `part_N` beside it. A run that resumes from `purge_step` takes over TensorBoard's curve from there.
    A service's logger takes up its run again by the name of a `job` that is started again. `name` is that of the run if the
    trainer's configuration is of another one.
    """
    home_of_run, taken = home(trainer), set[Path]()
    for logger in loggers(trainer):
        kind, args = find(logger["class_path"]), logger["init_args"]
        if not issubclass(kind, (TensorBoardLogger, CSVLogger)):
            if job and "version" in args and args["version"] is None:
                args["version"] = job
            continue
        given = logger_attribute(logger, "name")
        own = Path(args["save_dir"], home_of_run.name if given is None else given)
        elsewhere = own if name is None else Path(args["save_dir"], name)
        place = folder.path if own == home_of_run else elsewhere / folder.path.name
        if issubclass(kind, CSVLogger):
            parts = (place, *(place / f"part_{number}" for number in range(2, 10_000)))
            place = next(part for part in parts if part not in taken and not (part / "metrics.csv").exists())
            taken.add(place)
        elif purge_step is not None and args.get("purge_step") is None:
            args["purge_step"] = purge_step
        args["save_dir"], args["name"], args["version"] = str(place), "", ""


def unused(path: Path) -> Path:
    """`path`, or where it exists the first of NAME.2.json, NAME.3.json ... that does not."""
    names = (path.with_name(f"{path.stem}.{n}{path.suffix}") for n in count(2))
    return path if not path.exists() else next(name for name in names if not name.exists())
